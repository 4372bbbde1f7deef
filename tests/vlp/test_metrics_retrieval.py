from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.metrics import chance, ranking
from vlp.metrics import retrieval as metric


def in_worst_list(scores, own, k):
    """Whether any of `own` is in the top-k list, every tie broken against it."""
    order = sorted(range(len(scores)), key=lambda j: (-scores[j], j in own))
    return any(j in own for j in order[:k])


def assert_same(one, other):
    for name in ("rank", "tied", "top", "top_score"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert getattr(one, name).dtype == getattr(other, name).dtype


@st.composite
def cases(draw):
    """Features with few values, so that ties between own and foreign ones are frequent."""
    images = draw(st.integers(1, 6))
    captions = draw(st.lists(st.integers(1, 3), min_size=images, max_size=images))
    vector = st.lists(st.integers(-1, 1), min_size=2, max_size=2)
    image = draw(st.lists(vector, min_size=images, max_size=images))
    text = draw(st.lists(vector, min_size=sum(captions), max_size=sum(captions)))
    owner = draw(st.permutations(np.repeat(np.arange(images), captions).tolist()))
    return (torch.tensor(image).float(), torch.tensor(text).float(), torch.tensor(owner))


@settings(max_examples=80, deadline=None)
@given(cases())
def test_equals_brute_force(case):
    image, text, owner = case
    scores = (text @ image.T).tolist()  # small integers: exact
    t2i, i2t = metric.rank_both(image, text, owner)
    for one, other in (
        (t2i, metric.text_to_image(image, text, owner)),
        (i2t, metric.image_to_text(image, text, owner)),
    ):
        assert_same(one, other)
    for t, row in enumerate(scores):
        true = row[owner[t]]
        assert t2i.rank[t] == sum(score >= true for score in row)
        assert t2i.tied[t] == (row.count(true) > 1)
        assert int(owner[t]) in t2i.top[t] or t2i.rank[t] > 5
    for i in range(len(image)):
        column = [row[i] for row in scores]
        own = set((owner == i).nonzero().flatten().tolist())
        for k in range(1, len(text) + 1):
            assert (i2t.rank[i] <= k) == in_worst_list(column, own, k)
        assert i2t.hit(5)[i] == bool(own & set(i2t.top[i].tolist()))


def test_real_features_have_their_known_recall():
    """500 pairs of COCO by OpenAI's ViT-B/32."""
    file = Path(__file__).parents[2].parent / "shared/data/metadata/clip_features_500x512.npy"
    if not file.is_file():
        pytest.skip(f"{file} is absent")
    image, text = (F.normalize(torch.from_numpy(rows), dim=-1) for rows in np.load(file))
    t2i, i2t = metric.rank_both(image, text, torch.arange(500))
    scores = image.double() @ text.double().T
    assert i2t.hit(1).mean() == 0.552 == (scores.argmax(1) == torch.arange(500)).double().mean()
    assert t2i.hit(1).mean() == (scores.argmax(0) == torch.arange(500)).double().mean()


def test_chunks_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(50, 16, generator=generator), dim=-1)
    text = F.normalize(torch.randn(120, 16, generator=generator), dim=-1)
    owner = torch.cat([torch.arange(50), torch.randint(50, (70,), generator=generator)])
    whole = [metric.text_to_image(image, text, owner), metric.image_to_text(image, text, owner)]
    monkeypatch.setattr(ranking, "_BLOCK", (11, 16))
    parts = [metric.text_to_image(image, text, owner), metric.image_to_text(image, text, owner)]
    for one, other in zip(whole, parts, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("width", [1, 7, 512])
def test_constant_model_finds_nothing(width):
    feature = F.normalize(torch.rand(1, width, generator=torch.Generator().manual_seed(1)), dim=-1)
    image, text = feature.expand(37, -1), feature.expand(185, -1)
    owner = torch.arange(37).repeat_interleave(5)
    t2i = metric.text_to_image(image, text, owner)
    i2t = metric.image_to_text(image, text, owner)
    assert t2i.tied.all()
    assert i2t.tied.all()
    found = metric.summary(t2i, i2t)
    assert found["rsum"] == 0.0
    assert (t2i.rank == 37).all()
    assert (i2t.rank == 181).all()  # behind the 180 captions of the others


def test_perfect_model():
    image = torch.eye(12)
    owner = torch.arange(12).repeat_interleave(2)
    text = image[owner]
    found = metric.summary(
        metric.text_to_image(image, text, owner), metric.image_to_text(image, text, owner)
    )
    assert found["rsum"] == 6.0
    assert found["mean_recall@1"] == found["image_retrieval_mrr"] == 1.0
    assert found["text_retrieval_median_rank"] == found["text_retrieval_mean_rank"] == 1.0


def test_random_features_are_at_chance():
    generator = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(400, 64, generator=generator), dim=-1)
    text = F.normalize(torch.randn(2000, 64, generator=generator), dim=-1)
    owner = torch.arange(400).repeat_interleave(5)
    found = metric.summary(
        metric.text_to_image(image, text, owner), metric.image_to_text(image, text, owner)
    )
    expected = chance.retrieval(np.full(400, 5))
    assert expected["text_retrieval_recall@10"] == pytest.approx(1 - (1 - 10 / 2000) ** 5, rel=0.02)
    for name in ("image_retrieval_recall@10", "text_retrieval_recall@10"):
        assert found[name] == pytest.approx(expected[name], abs=0.015)


def test_chance_is_exact_for_a_small_gallery():
    # 2 pictures with 2 captions each: a picture's top 1 is right with probability 2 / 4
    assert chance.retrieval(np.array([2, 2]))["text_retrieval_recall@1"] == pytest.approx(0.5)
    assert chance.retrieval(np.array([2, 2]))["text_retrieval_recall@5"] == 1.0
    assert chance.retrieval(np.array([2, 2]))["image_retrieval_recall@1"] == 0.5


def test_refuses_what_cannot_be_ranked():
    with pytest.raises(ValueError, match="picture 1 has no caption"):
        metric.image_to_text(torch.eye(2), torch.eye(2), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="text: NaN"):
        metric.text_to_image(torch.eye(2), torch.full((2, 2), torch.nan), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"one picture in \[0, 2\)"):
        metric.text_to_image(torch.eye(2), torch.eye(2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="top: must be 1 or more"):
        metric.rank_both(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), top=0)
    with pytest.raises(ValueError, match="too long"):
        metric.rank_both(1e20 * torch.eye(2), 1e20 * torch.eye(2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="got 0 and 2"):
        metric.text_to_image(torch.zeros(0, 2), torch.eye(2), torch.tensor([0, 1]))
