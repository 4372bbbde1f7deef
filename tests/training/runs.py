"""Starting the trainer as a user does: as a process, on files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def write_recipe(path: Path, arch: str, shards: Path, **changes: object) -> Path:
    """A recipe of 24 tiny steps."""
    recipe = {
        "run": str(path.parent / "run"),
        "samples": 288,
        "batch": 12,
        "seed": 7,
        "model": {"arch": arch},
        "data": {
            "sources": {"tiny": {"shards": str(shards)}},
            "workers": 0,
            "shuffle_window": 32,
            "augment": {"scale": [0.5, 1.0], "flip": 0.5},
        },
        "objectives": {"contrastive": {"class_path": "vlp.objectives.InfoNCE"}},
        "optim": {"lr": 1e-3, "clip_grad_norm": 1.0},
        "schedule": {"warmup": 48},
        "ema": 0.9,
        "log": {"every": 12},
        "checkpoint": {"every": 36, "keep": 3},
        "eval": {"every": 96, "tasks": {"own": {"task": "retrieval", "data": "@tiny"}}},
        **changes,
    }
    path.write_text(yaml.safe_dump(recipe))
    return path


def command(recipe: Path, *options: str, processes: int = 1) -> list[str]:
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return [*start, "training.train", "--config", str(recipe), *options]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def train(recipe: Path, *options: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(
        command(recipe, *options, processes=processes),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def train_until(recipe: Path, ready, *options: str, number: int = signal.SIGKILL) -> int:
    """Start, send the process group a signal as soon as `ready()` holds; the exit status."""
    process = subprocess.Popen(
        command(recipe, *options),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and not ready():
        time.sleep(0.0005)
    if process.poll() is None:
        os.killpg(process.pid, number)
    return process.wait(60)


def metrics(run: Path) -> list[dict[str, float]]:
    """What a resumed run must repeat: losses and norms, without clocks."""
    names = ("samples_seen", "step", "loss", "loss/contrastive", "grad_norm", "lr", "scale")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{name: json.loads(line)[name] for name in names} for line in lines]


def results(run: Path) -> list[tuple[int, dict[str, float]]]:
    """Samples seen and scores of every evaluation."""
    lines = (run / "eval" / "own" / "results.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [(r["checkpoint"]["samples_seen"], r["metrics"]) for r in found]


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("step-*"))
