"""Both ways of `vlp.metrics.ranking` to count, against loops over scores in float64."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.metrics import ranking, retrieval, similarity


def expected(scores, right, top):
    """Rank, tie and best places of one query, from its scores and the places that are right."""
    best = max(scores[place] for place in right)
    wrong = [score for place, score in enumerate(scores) if place not in right]
    order = sorted(range(len(scores)), key=lambda j: (-scores[j], j in right, j))[:top]
    return 1 + sum(score >= best for score in wrong), best in wrong, order


def assert_brute_force(image, text, owner, top=5):
    image64, text64 = (np.float64(rows.double().numpy()) for rows in (image, text))
    scores = np.float32((text64[:, None] * image64).sum(2))  # [M, N]
    own = [set(np.flatnonzero(owner.numpy() == i)) for i in range(len(image))]
    t2i, i2t = retrieval.rank_both(image, text, owner, top)
    queries = [(t2i, t, scores[t], {int(owner[t])}) for t in range(len(text))]
    queries += [(i2t, i, scores[:, i], own[i]) for i in range(len(image))]
    for found, query, row, right in queries:
        rank, tied, order = expected(row, right, top)
        assert found.rank[query] == rank
        assert found.tied[query] == tied
        assert found.top[query].tolist() == order
        assert np.array_equal(found.top_score[query], row[order])


def counted(monkeypatch):
    """How many blocks were ranked from float32 products, and how many were tried in vain."""
    calls = {True: 0, False: 0}
    screen = ranking._screen

    def spy(*args):
        done = screen(*args)
        calls[done] += 1
        return done

    monkeypatch.setattr(ranking, "_screen", spy)
    return calls


def features(rows, width, seed, kind="any"):
    generator = torch.Generator().manual_seed(seed)
    if kind == "integer":
        return torch.randint(-2, 3, (rows, width), generator=generator).float()
    drawn = torch.randn(rows, width, generator=generator)
    if kind == "duplicates":
        drawn = drawn[torch.randint(rows // 4, (rows,), generator=generator)]
    if kind == "nearly equal":
        drawn = torch.ones(width) + 1e-7 * drawn
    return F.normalize(drawn, dim=-1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_brute_force_at_any_block(data):
    """Features of few values tie often; blocks this small end within pictures and lists."""
    images = data.draw(st.integers(1, 12))
    captions = data.draw(st.lists(st.integers(1, 4), min_size=images, max_size=images))
    vector = st.lists(st.integers(-1, 1), min_size=2, max_size=2)
    image = data.draw(st.lists(vector, min_size=images, max_size=images))
    text = data.draw(st.lists(vector, min_size=sum(captions), max_size=sum(captions)))
    owner = data.draw(st.permutations(np.repeat(np.arange(images), captions).tolist()))
    block = data.draw(st.sampled_from([(1, 8), (3, 8), (4, 16), (5, 7), (1024, 2048)]))
    top = data.draw(st.integers(1, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK", block)
        patch.setattr(ranking, "_NEAR", data.draw(st.sampled_from([0.0, 1.0])))
        rows = torch.tensor(image).float(), torch.tensor(text).float()
        assert_brute_force(*rows, torch.tensor(owner), top)


@pytest.mark.parametrize("kind", ["any", "integer", "duplicates", "nearly equal"])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_screening_changes_nothing(kind, share, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK", (16, 24))
    monkeypatch.setattr(ranking, "_NEAR", share)  # with 1, every block is screened
    calls = counted(monkeypatch)
    generator = torch.Generator().manual_seed(5)
    owner = torch.cat([torch.arange(60), torch.randint(60, (163,), generator=generator)])
    owner = owner[torch.randperm(len(owner), generator=generator)]
    assert_brute_force(features(60, 8, 0, kind), features(223, 8, 1, kind), owner)
    if share:
        assert calls[True] > 20


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_features_of_other_precisions(dtype, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK", (16, 24))
    monkeypatch.setattr(ranking, "_NEAR", 1.0)
    calls = counted(monkeypatch)
    image, text = features(40, 32, 0).to(dtype), features(120, 32, 1).to(dtype)
    assert_brute_force(image, text, torch.arange(120) % 40)
    assert calls[True] > 0


def test_products_of_lower_precision_are_never_trusted(monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK", (16, 24))
    image, text, owner = features(40, 32, 0), features(120, 32, 1), torch.arange(120) % 40
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_brute_force(image, text, owner)
    calls = counted(monkeypatch)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert_brute_force(image, text, owner)
    finally:
        torch.set_float32_matmul_precision(before)
    assert sum(calls.values()) == 0


def test_constant_model_over_many_blocks(monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK", (4, 8))
    feature = features(1, 7, 3)
    image, text = feature.expand(30, -1), feature.expand(90, -1)
    t2i, i2t = retrieval.rank_both(image, text, torch.arange(90) % 30)
    assert (t2i.rank == 30).all()
    assert (i2t.rank == 88).all()  # behind the 87 captions of the others
    assert t2i.top[0].tolist() == [1, 2, 3, 4, 5]
    assert i2t.top[0].tolist() == [1, 2, 3, 4, 5]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_margin_bounds_the_error_of_float32_products(data):
    """The exact sum, in fractions, lies within the margin of any float32 product."""
    width = data.draw(st.integers(1, 40))
    number = st.floats(-1, 1, width=32)
    x, y = (
        torch.tensor([data.draw(st.lists(number, min_size=width, max_size=width))])
        for _ in range(2)
    )
    exact = sum(
        Fraction(a) * Fraction(b) for a, b in zip(x[0].tolist(), y[0].tolist(), strict=True)
    )
    norms = similarity.lengths("x", x), similarity.lengths("y", y)
    margin = similarity.product_margin(norms[0], norms[1].max(), width).item()
    score = similarity.pair_scores(x, y, (torch.tensor([0]), torch.tensor([0]))).item()
    assert abs(Fraction((x @ y.T).item()) - Fraction(score)) <= Fraction(margin)
    assert abs(Fraction((x @ y.T).item()) - exact) <= Fraction(margin)


@pytest.mark.parametrize(("rows", "columns"), [(1, 8), (300, 16), (7, 4096), (600, 2560)])
def test_counts_and_places_of_a_mask(rows, columns):
    generator = torch.Generator().manual_seed(0)
    for share in (0.0, 0.01, 0.5, 1.0):
        mask = torch.rand(rows, columns, generator=generator) < share
        for dim in (0, 1):
            assert torch.equal(ranking._count(mask, dim), mask.sum(dim))
        places = ranking._places(mask)
        if mask.sum() > rows * columns * ranking._NEAR:
            assert places is None
        else:
            assert torch.equal(torch.stack(places, 1), mask.nonzero())


@pytest.mark.parametrize("cells", [1 << 22, 640])
def test_similarity_does_not_depend_on_chunks(cells, monkeypatch):
    monkeypatch.setattr(similarity, "_CELLS", cells)
    queries, gallery = features(150, 5, 0), features(33, 5, 1)
    scores = similarity.similarity(queries, gallery)
    exact = np.float64(queries.numpy()) @ np.float64(gallery.numpy()).T
    assert np.array_equal(scores.numpy(), np.float32(exact))
    place = torch.arange(150), torch.arange(150) % 33
    assert torch.equal(similarity.pair_scores(queries, gallery, place), scores[place])
