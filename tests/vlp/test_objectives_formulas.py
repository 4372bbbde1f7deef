"""Every objective against a loop written from its formula, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vlp.made import batch, unit, view
from vlp.objectives import (
    CWCL,
    DCL,
    Alignment,
    Captioning,
    Counting,
    CrossUniformity,
    Distillation,
    InfoNCE,
    Sigmoid,
    Uniformity,
)
from vlp.objectives.distillation import Terms
from vlp.objectives.infonce import Variant
from vlp.objectives.mixing import Mixing

sizes = given(rows=st.integers(2, 6), seed=st.integers(0, 500), scale=st.floats(0.5, 20))
quick = settings(max_examples=25, deadline=None)


def close(found, expected):
    assert float(found) == pytest.approx(float(expected), rel=1e-9, abs=1e-9)


def lse(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def dot(a, b):
    return float((a * b).sum())


@sizes
@quick
def test_sigmoid(rows, seed, scale):
    s = batch(rows, seed=seed, scale=scale)
    total = 0.0
    for i in range(rows):
        for j in range(rows):
            z = 1 if i == j else -1
            logit = scale * dot(s["image"][i], s["text"][j]) - 1.5
            total -= math.log(1 / (1 + math.exp(-z * logit)))
    close(Sigmoid()(s), total / rows)


@sizes
@quick
def test_uniformity_and_alignment(rows, seed, scale):
    s = batch(rows, seed=seed)

    def kernel(a, b):
        return math.exp(-2 * float((a - b).square().sum()))

    def inside(z):
        pairs = [kernel(z[i], z[j]) for i in range(rows) for j in range(i + 1, rows)]
        return math.log(sum(pairs) / len(pairs))

    x, y = s["image"], s["text"]
    close(Uniformity()(s), 0.5 * inside(x) + 0.5 * inside(y))
    across = [kernel(x[i], y[j]) for i in range(rows) for j in range(rows) if i != j]
    close(CrossUniformity()(s), math.log(sum(across) / len(across)))
    distances = [float((x[i] - y[i]).square().sum()) for i in range(rows)]
    close(Alignment()(s), sum(distances) / rows)


def test_uniformity_at_its_ends():
    same = F.normalize(torch.ones(4, 4, dtype=torch.float64), dim=-1)
    collapsed = {**batch(4), "image": same, "text": same, "all_image": same, "all_text": same}
    assert float(Uniformity()(collapsed)) == pytest.approx(0)
    assert float(CrossUniformity()(collapsed)) == pytest.approx(0)
    assert float(Alignment()(collapsed)) == pytest.approx(0)
    eye = torch.eye(4, dtype=torch.float64)
    spread = {**batch(4), "image": eye, "text": eye, "all_image": eye, "all_text": eye}
    assert float(Uniformity()(spread)) == pytest.approx(-4)
    assert float(CrossUniformity()(spread)) == pytest.approx(-4)
    assert float(Uniformity()(batch(1))) == 0.0  # no pairs


@sizes
@quick
def test_counting(rows, seed, scale):
    mask = torch.rand(rows, generator=torch.Generator().manual_seed(seed)) > 0.4
    s = batch(
        rows,
        seed=seed,
        scale=scale,
        counter_text=unit(rows, 4, seed=seed + 7) * mask[:, None],
        counter_mask=mask,
        number_text=unit(rows, 8, 4, seed=seed + 8) * mask[:, None, None],
        number_mask=mask[:, None].expand(-1, 8),
    )
    x, y, rows_in = s["image"], s["text"], [i for i in range(rows) if mask[i]]
    for factor, option in ((1.0, 1.0), (scale, "model")):
        binary, every = [], []
        for k in rows_in:
            right = factor * dot(x[k], y[k])
            wrong = factor * dot(x[k], s["counter_text"][k])
            binary.append(-math.log(math.exp(right) / (math.exp(right) + math.exp(wrong))))
            others = [factor * dot(x[k], s["number_text"][k, n]) for n in range(8)]
            every.append(lse([right, *others]) - right)
        close(Counting(scale=option)(s), sum(binary) / max(len(binary), 1))
        close(Counting(scale=option, variant="all")(s), sum(every) / max(len(every), 1))
    assert int(Counting().items(s)) == len(rows_in)


def test_counting_without_any_counted_sample_is_zero_with_a_gradient_of_zero():
    s = batch(3, counter_text=torch.zeros(3, 4), counter_mask=torch.zeros(3, dtype=torch.bool))
    s["image"].requires_grad_()
    loss = Counting()(s)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(s["image"].grad, torch.zeros(3, 4, dtype=torch.float64))


@sizes
@quick
def test_cwcl(rows, seed, scale):
    s = batch(rows, seed=seed, scale=scale)
    x, y = s["image"], s["text"]
    for locked, (u, v) in {"image": (x, y), "text": (y, x)}.items():
        for kernel in ("linear", "exp"):
            total = 0.0
            for i in range(rows):
                cosines = [dot(u[i], u[j]) for j in range(rows)]
                weights = [
                    0.5 + 0.5 * c if kernel == "linear" else math.exp((c - 1) / 0.1)
                    for c in cosines
                ]
                logits = [scale * dot(u[i], v[j]) for j in range(rows)]
                logs = [logit - lse(logits) for logit in logits]
                total -= sum(w * log for w, log in zip(weights, logs, strict=True)) / sum(weights)
                back = [scale * dot(v[i], u[j]) for j in range(rows)]
                total -= back[i] - lse(back)
            close(CWCL(locked=locked, kernel=kernel)(s), total / rows)


@sizes
@quick
def test_dcl(rows, seed, scale):
    s = batch(rows, seed=seed, scale=scale)
    x, y = s["image"], s["text"]
    right = [dot(x[i], y[i]) for i in range(rows)]
    norm = sum(math.exp(r / 0.5) for r in right)
    for sigma in (None, 0.5):
        total = 0.0
        for i in range(rows):
            weight = 1.0 if sigma is None else 2 - rows * math.exp(right[i] / 0.5) / norm
            for a, b in ((x, y), (y, x)):
                others = [scale * dot(a[i], b[j]) for j in range(rows) if j != i]
                total += lse(others) - weight * scale * right[i]
        close(DCL(sigma=sigma)(s), total / (2 * rows))
        close(DCL(sigma=sigma, temperature=1 / scale)(s), total / (2 * rows))


@sizes
@quick
def test_distillation(rows, seed, scale):
    wide = {f"teacher_{side}": unit(rows, 7, seed=seed + k) for k, side in
            ((20, "image"), (21, "text"))}  # fmt: skip
    same = {f"same_{side}": unit(rows, 4, seed=seed + k) for k, side in
            ((22, "image"), (23, "text"))}  # fmt: skip
    gathered = {f"all_{name}": value for name, value in {**wide, **same}.items()}
    s = batch(rows, seed=seed, scale=scale, **wide, **same, **gathered)
    x, y = s["image"], s["text"]

    def relation(name, tau):
        total = 0.0
        teacher = s[f"{name}_image"], s[f"{name}_text"]
        for (a, b), (c, d) in (((x, y), teacher), ((y, x), teacher[::-1])):
            for i in range(rows):
                taught = [dot(c[i], d[j]) / tau for j in range(rows)]
                own = [scale * dot(a[i], b[j]) for j in range(rows)]
                for t, o in zip(taught, own, strict=True):
                    p = math.exp(t - lse(taught))
                    total += p * ((t - lse(taught)) - (o - lse(own)))
        return total / (2 * rows)

    close(Distillation(temperature=0.3)(s), relation("teacher", 0.3))
    squares = sum(
        float((a - s[f"same_{side}"]).square().sum()) for a, side in ((x, "image"), (y, "text"))
    )
    feature = Distillation(teacher="same", terms=Terms(relation=0, feature=1))
    close(feature(s), squares / (2 * rows))
    contrast = 0.0
    for a, b in ((x, s["same_text"]), (y, s["same_image"])):
        for i in range(rows):
            logits = [scale * dot(a[i], b[j]) for j in range(rows)]
            contrast += lse(logits) - logits[i]
    interactive = Distillation(teacher="same", terms=Terms(relation=0, interactive=1))
    close(interactive(s), contrast / (2 * rows))


@given(rows=st.integers(1, 4), length=st.integers(1, 6), seed=st.integers(0, 500))
@quick
def test_captioning(rows, length, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, length, 9, generator=generator, dtype=torch.float64)
    ids = torch.randint(0, 9, (rows, length), generator=generator)
    for pad in (0, 5):
        losses = [
            lse(logits[b, t].tolist()) - float(logits[b, t, ids[b, t]])
            for b in range(rows)
            for t in range(length)
            if int(ids[b, t]) != pad
        ]
        found = Captioning(pad_id=pad)({"caption_logits": logits, "caption_ids": ids})
        close(found, sum(losses) / max(len(losses), 1))
    assert Captioning().weight == 2.0  # CoCa's two to one


def rows_of_infonce(queries, keys, scale, *, further=(), allowed=None, smoothing=0.0):
    """Mean over rows of the smoothed cross-entropy over the columns that take part."""
    total, count = 0.0, len(queries)
    for i in range(count):
        columns = [j for j in range(count) if i == j or allowed is None or allowed(i, j)]
        logits = [scale * dot(queries[i], keys[j]) for j in columns]
        logits += [scale * dot(queries[i], other) for other in further]
        right = scale * dot(queries[i], keys[i])
        total += lse(logits) - (1 - smoothing) * right - smoothing * sum(logits) / len(logits)
    return total / count


@sizes
@quick
def test_infonce_with_hard_captions_as_columns_of_images(rows, seed, scale):
    mask = torch.rand(rows, 2, generator=torch.Generator().manual_seed(seed)) > 0.4
    hard = unit(rows, 2, 4, seed=seed + 3)
    s = batch(rows, seed=seed, scale=scale, all_hard_text=hard, all_hard_mask=mask)
    x, y = s["image"], s["text"]
    further = [hard[i, h] for i in range(rows) for h in range(2) if mask[i, h]]
    for smoothing in (0.0, 0.2):
        expected = rows_of_infonce(x, y, scale, further=further, smoothing=smoothing)
        expected += rows_of_infonce(y, x, scale, smoothing=smoothing)
        close(InfoNCE(hard_captions=True, label_smoothing=smoothing)(s), expected / 2)


def test_infonce_sum_fixed_temperature_and_several_captions():
    texts = torch.stack([unit(5, 4, seed=k) for k in range(3)], dim=1)
    s = batch(5, texts=texts, all_texts=texts)
    x, y = s["image"], s["text"]
    both = rows_of_infonce(x, y, 3.0) + rows_of_infonce(y, x, 3.0)
    close(InfoNCE(variant=Variant(directions="sum"))(s), both)
    fixed = rows_of_infonce(x, y, 10.0) + rows_of_infonce(y, x, 10.0)
    close(InfoNCE(temperature=0.1)({k: v for k, v in s.items() if k != "scale"}), fixed / 2)
    each = [
        rows_of_infonce(x, texts[:, k], 3.0) + rows_of_infonce(texts[:, k], x, 3.0)
        for k in range(3)
    ]
    close(InfoNCE(variant=Variant(every_caption=True))(s), sum(each) / 6)


@sizes
@quick
def test_equal_captions_and_pictures_are_no_negatives(rows, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    captions, images = torch.randint(0, 4, (2, rows), generator=generator)
    ids = {"caption_id": captions, "image_id": images}
    s = batch(rows, seed=seed, scale=scale, **ids, **{f"all_{k}": v for k, v in ids.items()})
    x, y = s["image"], s["text"]

    def allowed(i, j):
        return captions[i] != captions[j] and images[i] != images[j]

    expected = rows_of_infonce(x, y, scale, allowed=allowed)
    expected += rows_of_infonce(y, x, scale, allowed=allowed)
    close(InfoNCE(ignore_duplicates=True)(s), expected / 2)
    total = 0.0
    for i in range(rows):
        for j in range(rows):
            if i == j or allowed(i, j):
                logit = (1 if i == j else -1) * (scale * dot(x[i], y[j]) - 1.5)
                total += math.log1p(math.exp(-logit))
    close(Sigmoid(ignore_duplicates=True)(s), total / rows)


def test_only_the_hardest_negatives_stay():
    s = batch(6)
    x, y = s["image"], s["text"]
    total = 0.0
    for a, b in ((x, y), (y, x)):
        for i in range(6):
            others = sorted((3.0 * dot(a[i], b[j]) for j in range(6) if j != i), reverse=True)
            right = 3.0 * dot(a[i], b[i])
            total += lse([right, *others[:2]]) - right  # 2 of 5 negatives
    close(InfoNCE(variant=Variant(hardest=0.4))(s), total / 12)


def test_mixed_negatives_are_mixtures_of_the_hardest_and_carry_no_gradient():
    mixing = Mixing(pairs=5, with_query=4, among=2)
    queries, keys = unit(6, 4, seed=1).float().requires_grad_(), unit(6, 4, seed=2).float()
    step, places = torch.tensor(3), (torch.arange(6), ~torch.eye(6, dtype=torch.bool))
    keys.requires_grad_()
    found = mixing.logits(queries, keys, places, step)
    assert found.shape == (6, 9)
    own = tuple(place[2:4] for place in places)
    again = mixing.logits(queries[2:4], keys, own, step)
    assert torch.allclose(again, found[2:4])  # a row's draws do not depend on its rank
    assert not torch.allclose(mixing.logits(queries, keys, places, step + 1), found)
    found.sum().backward()
    assert keys.grad is None
    scores = (queries @ keys.T).detach()
    for i in range(6):
        negatives = sorted(float(scores[i, j]) for j in range(6) if j != i)
        # a unit mixture of two negatives, or of one and the query, is no farther than the worse
        assert found[i].min().item() >= negatives[-2] - 1e-6


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize(
    "objective",
    [
        InfoNCE(label_smoothing=0.1),
        InfoNCE(hard_captions=True),
        InfoNCE(variant=Variant(hardest=0.5, mixing=Mixing(pairs=2))),
        Sigmoid(),
        CWCL(),
        DCL(sigma=0.5),
        Distillation(),
    ],
    ids=lambda o: type(o).__name__,
)
def test_the_mean_over_views_of_ranks_is_the_loss_of_the_batch(objective, ranks):
    more = {"all_hard_text": unit(6, 2, 4, seed=5), "all_hard_mask": torch.ones(6, 2).bool()}
    teacher = {f"teacher_{side}": unit(6, 9, seed=k) for k, side in enumerate(("image", "text"))}
    more |= {**teacher, **{f"all_{name}": value for name, value in teacher.items()}}
    s = batch(6, step=torch.tensor(0), **more)
    parts = [float(objective(view(s, ranks, rank))) for rank in range(ranks)]
    assert sum(parts) / ranks == pytest.approx(float(objective(s)), rel=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InfoNCE(temperature=0.0), "temperature must be positive, got 0.0"),
        (lambda: Variant(hardest=1.5), r"variant.hardest must be in \(0, 1\], got 1.5"),
        (lambda: Variant(directions="both"), "directions 'both': choices are mean, sum"),
        (lambda: Mixing(pairs=0), "at least one must"),
        (lambda: Uniformity(t=0), "t must be positive, got 0"),
        (lambda: Counting(scale=-1.0), "scale must be positive or 'model', got -1.0"),
        (lambda: Counting(variant="ternary"), "variant 'ternary': choices are binary, all"),
        (lambda: CWCL(locked="audio"), "locked 'audio': choices are image, text"),
        (lambda: DCL(sigma=0), "sigma must be positive, got 0"),
        (lambda: Terms(relation=0), "terms: relation, feature and interactive are all 0"),
        (lambda: Captioning(label_smoothing=1.0), "label_smoothing must be in"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_whole_batch_needs_no_gathered_copies():
    hard = {"hard_text": unit(5, 2, 4, seed=5), "hard_mask": torch.ones(5, 2).bool()}
    teacher = {f"teacher_{side}": unit(5, 9, seed=k) for k, side in enumerate(("image", "text"))}
    ids = {"caption_id": torch.tensor([0, 1, 0, 2, 3]), "image_id": torch.arange(5)}
    texts = {"texts": unit(5, 3, 4, seed=9)}
    more = {**hard, **teacher, **ids, **texts}
    alone = batch(5, **more)
    gathered = {**alone, **{f"all_{name}": value for name, value in more.items()}}
    for objective in (
        InfoNCE(hard_captions=True),
        InfoNCE(ignore_duplicates=True),
        InfoNCE(variant=Variant(every_caption=True)),
        Sigmoid(ignore_duplicates=True),
        Distillation(),
    ):
        assert torch.equal(objective(alone), objective(gathered))
