"""Zero-shot classification and retrieval, side by side with CLIP_benchmark: speed, equal numbers.

    python benchmarks/eval.py [--classes 1000] [--images 5000] [--turns 3] [--arch ViT-S-32-alt]

Three times are measured, the two taking turns, each turn a process of its own with the same
threads and loader workers, in float32 on the CPU:

    classifier    the vectors of ImageNet's classes by OpenAI's 80 templates, with the text tower of
                  ViT-B-32; every turn has its share of the classes, and the seconds are their sum
    whole run     zero-shot classification and retrieval on the same pictures, as a command: ours
                  once for both tasks, CLIP_benchmark's once for each
    next prompts  classification by a second set of templates after that run: ours reads the
                  features that it kept, CLIP_benchmark starts anew. Loading the model is left out
                  on both sides; `with load` has it in

Starting Python and importing count for neither. Each side has its own default batch. Both read the
same weights, which are random or those of `--checkpoint`, and the same tars: smooth random pictures
of 256 x 320 pixels with 10 classes and 5 captions each, or pictures and captions of `--data`. At
the end the metrics of the two are compared, those of ours from indexed shards and from
CLIP_benchmark's own layout. The exit status is 1 where one differs by more than 1e-6.

CLIP_benchmark gets an environment in the user's cache folder, made at the first run. Seconds and
metrics go to standard output and nowhere else. All of it takes hours on two cores; a quick look:
`--classes 50 --images 400 --turns 1`.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

# before this folder, in which `eval` would be this file
sys.path.insert(0, str(Path(__file__).parents[1]))

from open_clip import IMAGENET_CLASSNAMES

from benchmarks.evaluation import data as made
from benchmarks.evaluation.environment import VERSION, peer_python
from vlp.published import find_published

ROOT = Path(__file__).resolve().parents[1]
TEXT_ARCH, TOLERANCE = "ViT-B-32", 1e-6
AIMS = {"classifier": 8.0, "whole run": 2.0, "next prompts": 50.0}
Found = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure and print.

    Args:
        classes: of the classifier, at least one a turn; 0 leaves it out.
        images: of the runs; 0 leaves them out.
        turns: of each side.
        arch: open_clip's name of the model of the runs, a ViT.
        threads: of each process.
        workers: loader processes on both sides, at most one a shard.
        data: data set with captions, in a layout that the evaluation reads.
        checkpoint: run, checkpoint or model folder of the runs, instead of random weights.
    """

    classes: int = 1000
    images: int = 5000
    turns: int = 3
    arch: str = "ViT-S-32-alt"
    threads: int = os.cpu_count() or 1
    workers: int = 1
    data: str | None = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        if self.turns < 1 or self.threads < 1 or self.images < 0:
            raise ValueError(f"turns, threads: at least 1, images: at least 0; got {self}")
        if self.classes and self.classes < self.turns:
            raise ValueError(f"classes: 0, or one of {self.turns} turns each; got {self.classes}")
        if not 0 <= self.workers <= made.SHARDS:
            raise ValueError(f"workers: 0 to {made.SHARDS}, one a shard; got {self.workers}")


@dataclass(kw_only=True)
class Sides:
    """Runs the workers of both."""

    weights: Path  # model folder
    workers: int
    threads: int
    python: Path

    def ours(self, what: str, given: object) -> Found:
        return self._run([sys.executable, "-m", "benchmarks.evaluation.ours"], what, given)

    def theirs(self, what: str, given: object) -> Found:
        worker = ROOT / "benchmarks" / "evaluation" / "peer.py"
        return self._run([str(self.python), "-P", str(worker)], what, given)

    def our_run(self, tasks: list[str], data: Path, output: Path, *more: str) -> Found:
        """`python -m eval run`."""
        chosen = [word for task in tasks for word in ("--task", task)]
        where = ["--data", str(data), "--output", str(output), "--device", "cpu"]
        how = ["--workers", str(self.workers), *more]
        return self.ours("eval", [str(self.weights), *chosen, *where, *how])

    def their_run(self, task: str, data: Path, *more: str) -> Found:
        """`clip_benchmark eval`."""
        model = ["--model", f"local-dir:{self.weights}", "--pretrained", ""]
        what = ["--task", task, "--dataset", f"wds/{data.name}", "--dataset_root", str(data)]
        how = ["--no_amp", "--quiet", "--num_workers", str(self.workers)]
        recalls = ["--recall_k", "1", "5", "10", "--output", os.devnull]
        return self.theirs("eval", [*model, *what, *how, *recalls, *more])

    def _run(self, command: list[str], what: str, given: object) -> Found:
        threads = str(self.threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "OMP_WAIT_POLICY": "PASSIVE",  # turning in circles would slow a machine others share
            "CUDA_VISIBLE_DEVICES": "",
        }
        done = subprocess.run(
            [*command, what, json.dumps(given)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise SystemExit(f"{command[-1]} {what} failed:\n{done.stdout}{done.stderr}")
        found: Found = json.loads(done.stdout.splitlines()[-1])
        return found


@dataclass(kw_only=True)
class Times:
    """Seconds of the turns."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def add(self, what: str, ours: float, theirs: float) -> None:
        self.ours.append(ours)
        self.theirs.append(theirs)
        turn, ratio = len(self.ours), theirs / ours
        print(f"turn {turn} {what:<14} {ours:10.2f} {theirs:15.2f} {ratio:7.1f}", flush=True)

    def row(self, what: str, *, summed: bool = False) -> str:
        """A line of the table: seconds, median and range of the ratio."""
        over = sum if summed else statistics.median
        ratios = [b / a for a, b in zip(self.ours, self.theirs, strict=True)]
        spread = f"({min(ratios):.1f} to {max(ratios):.1f})"
        aim = f"{AIMS[what]:.0f}" if what in AIMS else ""
        seconds = f"{over(self.ours):10.2f} {over(self.theirs):15.2f}"
        return f"{what:<14} {seconds} {statistics.median(ratios):7.1f} {spread:>17} {aim:>4}"


def time_classifier(sides: Sides, classes: int, turns: int) -> tuple[Times, float]:
    """Build classifiers; their largest difference."""
    times, apart = Times(), 0.0
    for turn in range(turns):
        names = IMAGENET_CLASSNAMES[:classes][turn::turns]
        weights = str(sides.weights)
        given = {"weights": weights, "classnames": names, "templates": made.FIRST}
        ours, theirs = sides.ours("classifier", given), sides.theirs("classifier", given)
        times.add("classifier", ours["seconds"], theirs["seconds"])
        rows = zip(ours["classifier"], theirs["classifier"], strict=True)
        differences = (abs(x - y) for a, b in rows for x, y in zip(a, b, strict=True))
        apart = max(apart, max(differences))
    return times, apart


def time_runs(
    sides: Sides, data: made.Data, folder: Path, turns: int
) -> tuple[dict[str, Times], list[tuple[str, Found, Found]]]:
    """Whole runs and next prompts: seconds, and (what, our metrics, theirs) of the last turn."""
    times = {name: Times() for name in ("whole run", "next prompts", "with load")}
    classification, retrieval = data.of_task(made.CLASSIFICATION), data.of_task(made.RETRIEVAL)
    for turn in range(turns):
        cache = ["--cache", str(folder / f"cache-{turn}")]
        both = ["zeroshot_classification", "retrieval"]
        whole = sides.our_run(both, data.shards, folder / f"whole-{turn}", *cache)
        one = sides.their_run("zeroshot_classification", classification)
        other = sides.their_run("zeroshot_retrieval", retrieval)
        times["whole run"].add("whole run", whole["seconds"], one["seconds"] + other["seconds"])
        prompts = ["--templates", str(data.second_prompts)]
        after = sides.our_run(both[:1], data.shards, folder / f"next-{turn}", *cache, *prompts)
        prompts = ["--custom_template_file", str(data.second_prompts_json)]
        anew = sides.their_run("zeroshot_classification", classification, *prompts)
        work = [side["seconds"] - side["load"] for side in (after, anew)]
        times["next prompts"].add("next prompts", *work)
        times["with load"].add("with load", after["seconds"], anew["seconds"])
    found = {**one["metrics"], **other["metrics"]}
    own = [sides.our_run(both[:1], classification, folder / "own", "--cache", "none")]
    own += [sides.our_run(both[1:], retrieval, folder / "own", "--cache", "none")]
    return times, [
        ("shards", whole["metrics"], found),
        ("its layout", own[0]["metrics"] | own[1]["metrics"], found),
        ("next prompts", after["metrics"], anew["metrics"]),
    ]


def compare(found: list[tuple[str, Found, Found]]) -> float:
    """Print the metrics of both; their largest difference."""
    apart = 0.0
    print(f"\n{'':<14} {'metric':<26} {'ours':>10} {'CLIP_benchmark':>15} {'difference':>11}")
    for what, ours, theirs in found:
        for name, value in theirs.items():
            apart = max(apart, abs(ours[name] - value))
            numbers = f"{ours[name]:10.6f} {value:15.6f} {ours[name] - value:11.1e}"
            print(f"{what:<14} {name:<26} {numbers}")
    return apart


def main(given: Settings) -> int:
    """Measure and print; the exit status."""
    rows, apart = [], 0.0
    python = peer_python()
    print(f"{given.threads} threads, {given.workers} loader workers, CLIP_benchmark {VERSION}")
    print(f"{'seconds':<21} {'ours':>10} {'CLIP_benchmark':>15} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def sides(weights: Path) -> Sides:
            how = {"workers": given.workers, "threads": given.threads}
            return Sides(weights=weights, python=python, **how)

        if given.classes:
            weights = made.write_weights(folder / TEXT_ARCH, TEXT_ARCH)
            times, apart = time_classifier(sides(weights), given.classes, given.turns)
            rows.append(times.row("classifier", summed=True))
            print(f"largest difference of the class vectors: {apart:.1e}")
        if given.images:
            data = made.write_data(folder / "data", given.images, given.data)
            if given.checkpoint is None:
                weights = made.write_weights(folder / "model", given.arch)
            else:
                weights = find_published(Path(given.checkpoint)).resolve()
            found, metrics = time_runs(sides(weights), data, folder, given.turns)
            rows += [times.row(name) for name, times in found.items()]
            apart = max(apart, compare(metrics))
    columns = f"{'ours':>10} {'CLIP_benchmark':>15} {'ratio':>7} {'(range)':>17} {'aim':>4}"
    print(f"\n{'seconds':<14} {columns}", *rows, sep="\n")
    print(f"classifier: {given.classes} classes x {len(made.FIRST)} templates, {TEXT_ARCH}")
    print(f"the others: {given.images} pictures, {given.checkpoint or given.arch}")
    print(f"largest difference of a number: {apart:.1e}, allowed {TOLERANCE:.0e}")
    return int(apart > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(auto_cli(Settings)))
