"""Paired comparisons: what may be compared, the numbers against hand counts, what flipped."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from eval import predictions
from eval.__main__ import main
from eval.comparison.compare import compare
from eval.comparison.comparison import Wanted, holm
from eval.comparison.paired import compare_sides
from eval.comparison.sides import find_side
from eval.comparison.text import table
from eval.datasets import open_dataset
from eval.features import Features
from eval.results import JSONL
from eval.results import write as write_result
from eval.run import evaluate, evaluate_task, prepare
from eval.spec import EvalSpec
from tests.eval.conftest import ColourEncoder
from vlp.metrics.outcomes import mean_of

PROTOCOL = {
    "precision": "fp32",
    "templates_sha": "a" * 64,
    "tie_rule": "strict",
    "image_size": [4, 4],
    "mean": [0.5],
    "data_sha": "d" * 64,
    "data": "somewhere",
    "batch": 256,
}


class Confused(ColourEncoder):
    """Reads green where it says red, and takes yellow for white."""

    fingerprint = "fedcba9876543210" * 4

    def encode_text(self, texts):
        wrong = {"red": "green", "green": "red", "yellow": "white"}
        read = (next((word for word in wrong if word in text), text) for text in texts)
        return super().encode_text([wrong.get(text, text) for text in read])


def keep(folder, encoder, task, data, **description):
    """Evaluate as the command line does, predictions of every result."""
    spec = EvalSpec(task=task, data=str(data), batch=4)
    prepared = prepare(open_dataset(str(data)), spec, task)
    about = {"sha256": encoder.fingerprint, **description}
    record, result = evaluate_task(Features(encoder, batch=4), prepared, about)
    write_result(folder, record, result, keep=True)


def store(folder, correct, *, keys=None, dataset="made", outcomes=None, name="m", **changes):
    """A result that was never computed: right and wrong as given."""
    protocol = {**PROTOCOL, **changes}
    outcomes = outcomes or {"acc1": mean_of(np.array(correct))}
    n = len(correct)
    where = f"predictions/{dataset}-{name}-{len(list(folder.glob('**/*.npz')))}.npz"
    place = {"data": "nowhere", "data_sha": "x", "limit": 0, "split": ""}
    arrays = {key: np.array(value) for key, value in place.items()}
    arrays["key"] = np.array(keys if keys is not None else [f"{i:05d}" for i in range(n)])
    predictions.write(folder / where, arrays, outcomes)
    record = {
        "dataset": dataset,
        "task": "zeroshot_classification",
        "split": "test",
        "model": name,
        "pretrained": "none",
        "main": next(iter(outcomes)),
        "metrics": {metric: outcome.value for metric, outcome in outcomes.items()},
        "chance": {"acc1": 0.1},
        "n": {"images": n, "texts": 10, "classes": 10},
        "protocol": protocol,
        "checkpoint": {"path": None, "sha256": name * 64, "step": None, "samples_seen": None},
        "predictions": where,
    }
    with open(folder / JSONL, "a") as file:
        file.write(json.dumps(record) + "\n")


@pytest.fixture
def a(tmp_path):
    (tmp_path / "a").mkdir()
    return tmp_path / "a"


@pytest.fixture
def b(tmp_path):
    (tmp_path / "b").mkdir()
    return tmp_path / "b"


def compared(a, b, **wanted):
    return compare_sides(find_side(str(a)), find_side(str(b)), Wanted(**wanted))


def test_numbers_of_a_single_metric(a, b):
    rng = np.random.default_rng(0)
    one, other = rng.random(300) < 0.7, rng.random(300) < 0.6
    store(a, one)
    store(b, other, name="o")
    (row,) = compared(a, b).pairs[0].rows
    won = sum(x and not y for x, y in zip(one, other, strict=True))
    lost = sum(y and not x for x, y in zip(one, other, strict=True))
    assert row.difference.p == pytest.approx(binomtest(won, won + lost).pvalue)
    assert row.difference.test == "McNemar exact"
    assert row.difference.value == pytest.approx(one.mean() - other.mean())
    assert row.discordant == won + lost
    assert row.above_chance[0] == pytest.approx((one.mean() - 0.1) / 0.9)
    assert row.above_chance[1] == pytest.approx((other.mean() - 0.1) / 0.9)
    low, high = row.difference.interval
    # the standard error of a mean of paired differences
    error = np.std(one.astype(float) - other) / np.sqrt(300)
    assert low == pytest.approx(row.difference.value - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(row.difference.value + 1.96 * error, abs=0.3 * error)


def test_no_sample_differs(a, b):
    store(a, [True, False, True])
    store(b, [True, False, True], name="o")
    (row,) = compared(a, b).pairs[0].rows
    assert (row.difference.p, row.difference.value, row.discordant) == (1.0, 0.0, 0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_against_its_definition(p):
    found = holm(p)
    order = sorted(range(len(p)), key=lambda i: p[i])
    for rank, i in enumerate(order):
        largest = max((len(p) - j) * p[order[j]] for j in range(rank + 1))
        assert found[i] == pytest.approx(min(1.0, largest))
        assert found[i] >= p[i]


def test_the_adjusted_value_is_over_the_whole_table(a, b):
    rng = np.random.default_rng(1)
    for k in range(3):
        store(a, rng.random(50) < 0.9, dataset=f"d{k}")
        store(b, rng.random(50) < 0.6, dataset=f"d{k}", name="o")
    found = compared(a, b)
    rows = [pair.rows[0] for pair in found.pairs]
    assert [row.adjusted for row in rows] == pytest.approx(holm([r.difference.p for r in rows]))
    assert "p (Holm)" in table(found)[0]
    assert "p (Holm)" not in table(compared(a, b, dataset="d1"))[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp16"}, "precision is 'fp32' of A, 'fp16' of B"),
        ({"templates_sha": "b" * 64}, f"templates_sha is {'a' * 12} of A, {'b' * 12} of B"),
        ({"tie_rule": None}, "tie_rule is 'strict' of A, None of B"),
        ({"data_sha": "e" * 64, "limit": 9}, "limit is None of A, 9 of B"),
    ],
)
def test_other_protocols_are_refused(a, b, changes, message, capsys):
    store(a, [True, False])
    store(b, [True, True], name="o", **changes)
    with pytest.raises(ValueError, match="nothing can be compared") as error:
        compare(str(a), str(b))
    assert message in str(error.value)
    # with something else in common that is compared, and the status says so
    store(a, [True, False], dataset="second")
    store(b, [False, False], dataset="second", name="o")
    assert compare(str(a), str(b)) == 1
    shown = capsys.readouterr()
    assert "second / test / zeroshot_classification" in shown.out
    assert message in shown.err


def test_what_a_model_brings_along_may_differ(a, b):
    store(a, [True, False])
    own = {"image_size": 384, "mean": [0.4], "logit_scale": 7, "context_length": 64, "c": 3.0}
    own |= {"tokenizer_sha": "x" * 64}
    store(b, [True, True], name="o", data="elsewhere", batch=1, seed=3, **own)
    assert len(compared(a, b).pairs) == 1


def test_each_protocol_that_both_have_is_a_row(a, b):
    for precision in ("fp32", "bf16"):
        store(a, [True, False], precision=precision)
        store(b, [True, True], name="o", precision=precision)
    store(a, [True, False], precision="fp16")  # B has none of it
    found = compared(a, b)
    assert [pair.title for pair in found.pairs] == [
        f"made / test / zeroshot_classification (precision '{precision}')"
        for precision in ("fp32", "bf16")
    ]
    assert not found.refused


def test_the_newest_result_counts(a, b):
    store(a, [False, False])
    store(a, [True, True])
    store(b, [False, True], name="o")
    assert compared(a, b).pairs[0].rows[0].values == (1.0, 0.5)


def test_other_samples_are_refused(a, b):
    store(a, [True, False, True])
    store(b, [True, False], name="o", keys=["00000", "00009"])
    with pytest.raises(ValueError, match="A has 3, B 2; 3 are in one of them alone, the first"):
        compared(a, b)


def test_predictions_that_are_gone_are_refused(a, b):
    store(a, [True, False])
    store(b, [True, False], name="o")
    (path,) = b.glob("predictions/*.npz")
    path.unlink()
    with pytest.raises(ValueError, match="the predictions of B are gone"):
        compared(a, b)


def test_benchmarks_of_one_alone_are_named(a, b, capsys):
    for folder, name in ((a, "m"), (b, "o")):
        store(folder, [True, False], name=name)
    store(a, [True], dataset="extra")
    assert compare(str(a), str(b)) == 0
    assert "A alone was evaluated on: extra / test / zeroshot" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"nothing in common: A on extra .*; B on nothing"):
        compared(a, b, dataset="extra")
    with pytest.raises(ValueError, match=r"in common: .*; there are made / test / zeroshot"):
        compared(a, b, task="retrieval")


def test_metrics_without_outcomes_have_a_difference_alone(a, b):
    store(a, [True, False])
    store(b, [True, True], name="o")
    for folder, value in ((a, 2.0), (b, 1.5)):
        path = folder / JSONL
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "metrics": {**record["metrics"], "nll": value}}))
    row = compared(a, b, metrics="all").pairs[0].rows[1]
    assert row.metric == "nll"
    assert (row.difference.value, row.difference.interval, row.difference.p) == (0.5, None, None)
    assert row.above_chance == (None, None)


def test_which_checkpoint_is_meant(tmp_path, encoder, class_folders, monkeypatch):
    folder = tmp_path / "out"
    for step, sha in ((600, "ab12" * 16), (800, "cd34" * 16)):
        path = f"runs/x/checkpoints/step-{step:09d}/model"
        about = {"path": path, "step": step, "samples_seen": step, "sha256": sha}
        keep(folder, encoder, "zeroshot_classification", class_folders, **about)
    for text in (
        "step-000000800",
        "runs/x/checkpoints/step-000000800/model",
        "runs/x/checkpoints/step-000000800",
        "cd34cd",
        "CD34CD34",
        "runs/x, step 800",
    ):
        assert find_side(f"{folder}:{text}").name == "runs/x, step 800"
    with pytest.raises(ValueError, match="several checkpoints; those that are there") as error:
        find_side(str(folder))
    for step in ("600", "800"):
        assert f"{folder}:step-000000{step}" in str(error.value)
    with pytest.raises(ValueError, match="several checkpoints 'colours'"):
        find_side(f"{folder}:colours")
    with pytest.raises(ValueError, match="no checkpoint 'cd34'"):  # too short to mean one
        find_side(f"{folder}:cd34")
    with pytest.raises(FileNotFoundError, match="is no folder; expected FOLDER"):
        find_side(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"holds no results\.jsonl"):
        find_side(str(class_folders))


def test_of_a_run_the_last_checkpoint_is_meant(tmp_path, encoder, own_shards):
    for step in (1, 2):
        about = {"step": step, "samples_seen": step, "path": "runs/x", "sha256": f"{step}" * 64}
        spec = EvalSpec(task="retrieval", data=str(own_shards))
        place = tmp_path / "eval" / "own"
        evaluate(encoder, spec, description=about, output=place, show_progress=False)
    side = find_side(str(tmp_path))
    assert side.name == "runs/x, step 2"
    assert side.results[0].predictions is not None
    assert find_side(f"{tmp_path}:step-000000001").results[0].predictions is None


def test_markdown_reads_back(a, b, tmp_path):
    store(a, [True, False, True], outcomes={"acc1": mean_of(np.array([1, 0, 1]))}, dataset="p|q")
    store(b, [False, False, True], name="o", dataset="p|q")
    output = tmp_path / "c.md"
    compare(str(a), str(b), output=str(output))
    lines = output.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| benchmark"))
    header, row = (cells_of(lines[i]) for i in (start, start + 2))
    read = dict(zip(header, row, strict=True))
    assert read["benchmark"] == "p|q / test / zeroshot_classification"
    assert (read["A"], read["B"], read["A - B"]) == ("66.67%", "33.33%", "+33.33")
    assert read["p"] == "1.0000"
    assert "| A | 00000 |" in output.read_text()


def cells_of(line):
    cells = line.replace("\\|", "\0").strip("|").split("|")
    return [cell.strip().replace("\0", "|") for cell in cells]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": "acc1"}, "metrics 'acc1': choices are main, all"),
        ({"output": "c.pdf"}, r"output 'c\.pdf': expected a name ending in \.html or \.md"),
        ({"flips": -1}, "flips must be at least 0, got -1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        replace(Wanted(), **options)


def test_the_same_weights_are_named(a, b, capsys):
    store(a, [True, False])
    store(b, [True, False])
    compare(str(a), str(b))
    assert "A and B are the same weights" in capsys.readouterr().out


def test_command_line(a, b, capsys):
    store(a, [True, False])
    store(b, [True, True], name="o")
    assert main(["compare", str(a), str(b), "--metrics", "all", "--flips", "1"]) == 0
    shown = capsys.readouterr().out
    assert "-50.00" in shown
    assert "A better on 0 samples, B on 1" in shown
    store(b, [True, True], name="x")
    assert main(["compare", str(a), str(b)]) == 2
    assert "several checkpoints" in capsys.readouterr().err
