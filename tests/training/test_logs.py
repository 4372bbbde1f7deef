"""Cadences, and lines taken back."""

import json

import pytest

from training import logs
from training.logs import Cadence, drop_later_lines


def test_a_cadence_in_samples_fires_when_a_multiple_is_crossed():
    cadence = Cadence(48, 36, voting=False)
    assert [seen for seen in range(36, 300, 36) if cadence.due(seen)] == [
        72,
        108,
        144,
        216,
        252,
        288,
    ]


def test_a_cadence_in_time_counts_one_clock_only(monkeypatch):
    now = 0.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    main, other = Cadence("10s", 4, voting=True), Cadence("10s", 4, voting=False)
    fired = []
    for step in range(1, 61):
        now = step * 0.5
        fired += [step] * main.due(step * 4)
        assert not other.due(step * 4)
    assert fired == [20, 40, 60]


def test_lines_after_a_checkpoint_and_torn_ones_are_taken_back(tmp_path):
    path = tmp_path / "x.jsonl"
    lines = [
        json.dumps({"n": 1}),
        json.dumps({"n": None}),
        '{"n": ',
        json.dumps({"n": 9}),
        json.dumps({"n": 2}),
    ]
    path.write_text("\n".join(lines) + "\n")
    drop_later_lines(path, 2, lambda line: line["n"])
    assert [json.loads(x)["n"] for x in path.read_text().splitlines()] == [1, None, 2]
    drop_later_lines(tmp_path / "none", 2, lambda line: line["n"])


def test_values_that_are_no_numbers_become_null(tmp_path):
    file = logs.MetricsFile(tmp_path / "m.jsonl", 0)
    file.write({"samples_seen": 1, "loss": float("nan"), "norm": float("inf"), "step": 1})
    file.close()
    line = json.loads((tmp_path / "m.jsonl").read_text())
    assert line == {"samples_seen": 1, "loss": None, "norm": None, "step": 1}


@pytest.mark.parametrize("seen", [0, 7])
def test_speed_leaves_out_what_is_paused(seen, monkeypatch):
    now = 100.0
    monkeypatch.setattr(logs.time, "perf_counter", lambda: now)
    speed = logs.Speed(seen)
    with speed.waiting():
        now += 1
    now += 3
    with speed.paused():
        now += 50
    found = speed.since(seen + 8)
    assert found["pairs_per_second"] == 2.0
    assert found["data_wait"] == 0.25
