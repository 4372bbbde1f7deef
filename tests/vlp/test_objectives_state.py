"""SogCLR and iSogCLR against a dictionary per sample, written from the papers' update rules."""

import math

import pytest
import torch

from tests.vlp.made import batch
from vlp.objectives import SogCLR
from vlp.objectives.base import Facts
from vlp.objectives.sogclr import Individual


class Reference:
    """One side's state as plain numbers: u = s·exp(b) is the averaged denominator itself."""

    def __init__(self, gamma, tau, own):
        self.gamma, self.start, self.own = gamma, tau, own
        self.denominator, self.slope, self.tau = {}, {}, {}

    def step(self, ids, cosines):
        """The value of the side, and its weights [B, B] per pair."""
        rows, new, value = len(ids), {}, 0.0
        for i, sample in enumerate(ids):
            tau = self.tau.get(sample, self.start)
            h = [cosines[i][j] - cosines[i][i] for j in range(rows)]
            g = sum(math.exp(x / tau) for x in h) / (rows - 1)
            before = self.denominator.get(sample)
            s = g if before is None else (1 - self.gamma) * before + self.gamma * g
            weights = [math.exp(x / tau) / s for x in h]
            value += sum(w * x for w, x in zip(weights, h, strict=True)) / (rows - 1) / rows
            slope = 0.0
            if self.own is not None:
                mean = sum(w * x / tau for w, x in zip(weights, h, strict=True)) / (rows - 1)
                pull = min(5.0, max(-5.0, math.log(s) + self.own.rho - mean))
                keep = 1 - self.own.momentum
                slope = keep * self.slope.get(sample, 0.0) + self.own.momentum * pull
                tau = min(1.0, max(self.own.lowest, tau - self.own.lr * slope))
            new[sample] = (s, slope, tau)
        for sample, (s, slope, tau) in new.items():
            self.denominator[sample], self.slope[sample], self.tau[sample] = s, slope, tau
        return value


@pytest.mark.parametrize("own", [None, Individual(), Individual(rho=2.0, lr=0.1, momentum=0.5)])
def test_the_value_and_the_state_follow_the_papers(own):
    objective = SogCLR(gamma=0.7, temperature=0.2, individual=own)
    objective.prepare(Facts(samples=20))
    sides = {name: Reference(0.7, 0.2, own) for name in ("image", "text")}
    for k in range(6):
        ids = torch.randperm(12, generator=torch.Generator().manual_seed(k))[:5]
        signals = batch(5, seed=k, sample_id=ids)
        found = objective(signals)
        cosines = (signals["image"] @ signals["text"].T).tolist()
        turned = (signals["text"] @ signals["image"].T).tolist()
        expected = sides["image"].step(ids.tolist(), cosines)
        expected += sides["text"].step(ids.tolist(), turned)
        assert float(found) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        objective.after_step(objective.state_rows())
    for name, reference in sides.items():
        for sample, s in reference.denominator.items():
            table = {f: float(objective.get_buffer(f"{name}_{f}")[sample]) for f in "sb"}
            assert table["s"] * math.exp(table["b"]) == pytest.approx(s, rel=1e-4)
            tau = float(objective.get_buffer(f"{name}_tau")[sample])
            assert tau == pytest.approx(reference.tau[sample], rel=1e-4)
        assert int((objective.get_buffer(f"{name}_s") > 0).sum()) == len(reference.denominator)


def test_the_gradient_is_that_of_the_weighted_sum():
    """w is no part of the graph: d/ds_ij = w_ij / (B - 1) / B, and minus the sum for s_ii."""
    objective = SogCLR(temperature=0.5, samples=4)
    signals = batch(4, sample_id=torch.arange(4))
    signals["image"].requires_grad_()
    signals["all_image"] = signals["image"]
    objective(signals).backward()
    x, y = signals["image"].detach(), signals["text"]
    cosines = x @ y.T
    gradient = torch.zeros(4, 4, dtype=torch.float64)
    for matrix, turned in ((cosines, False), (cosines.T, True)):
        h = matrix - matrix.diagonal()[:, None]
        powers = torch.exp(h / 0.5)
        weights = powers / (powers.sum(1, keepdim=True) / 3) / 3 / 4
        side = weights - torch.diag(weights.sum(1))
        gradient += side.T if turned else side
    assert torch.allclose(signals["image"].grad, gradient @ y, rtol=1e-5, atol=1e-8)


def test_large_differences_do_not_overflow():
    signals = batch(4, sample_id=torch.arange(4))
    objective = SogCLR(temperature=0.001, samples=4)
    for _ in range(3):
        assert torch.isfinite(objective(signals))
        objective.after_step(objective.state_rows())
        assert all(torch.isfinite(table).all() for table in objective.buffers())


def test_a_step_that_was_no_number_leaves_the_state_as_it_was():
    objective = SogCLR(samples=4)
    objective(batch(4, sample_id=torch.arange(4)))
    objective.after_step(objective.state_rows())
    before = {name: table.clone() for name, table in objective.named_buffers()}
    rows = {name: value * math.nan if value.is_floating_point() else value
            for name, value in objective.state_rows().items()}  # fmt: skip
    objective.after_step(rows)
    for name, table in objective.named_buffers():
        assert torch.equal(table, before[name])


def test_a_data_set_without_an_index_is_refused():
    with pytest.raises(ValueError, match="it needs an indexed data set"):
        SogCLR().prepare(Facts(samples=0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: SogCLR(gamma=0),
        lambda: SogCLR(temperature=2.0),
        lambda: Individual(momentum=0),
        lambda: Individual(lowest=1),
    ],
)
def test_options_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="must be in"):
        make()


def test_a_sample_that_is_in_the_batch_twice_takes_the_mean_of_its_denominators():
    objective = SogCLR(samples=3)
    rows = {"sample_id": torch.tensor([2, 0, 2])}
    for side in ("image", "text"):
        rows |= {
            f"{side}_s": torch.tensor([1.0, 3.0, 1.0]),
            f"{side}_b": torch.tensor([10.0, 1.0, 12.0]),
            f"{side}_u": torch.tensor([1.0, 0.0, 3.0]),
            f"{side}_tau": torch.tensor([0.2, 0.01, 0.4]),
        }
    objective.after_step(rows)
    s, b = objective.get_buffer("image_s"), objective.get_buffer("image_b")
    assert s[2] * math.exp(b[2]) == pytest.approx((math.exp(10) + math.exp(12)) / 2, rel=1e-5)
    assert s[0] * math.exp(b[0]) == pytest.approx(3 * math.e, rel=1e-5)
    assert float(objective.get_buffer("image_u")[2]) == 2.0
    assert float(objective.get_buffer("text_tau")[2]) == pytest.approx(0.3)
    assert float(s[1]) == 0.0  # not in the batch
