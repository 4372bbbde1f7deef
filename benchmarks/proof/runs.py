"""Making the data and the runs: each once, resumable, several at a time."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import yaml
from tqdm import tqdm

from benchmarks.proof.arms import ARMS, DATA, RECIPES, SHARED, WORLDS, Arm
from vlp.data.files import write_json

ROOT = Path(__file__).parents[2]
MARK = "proof.json"
CAPTIONED = 400  # pictures that a caption is written of


class ProofError(RuntimeError):
    """A run that ended badly; the message says which and where its log is."""


def make_data() -> None:
    """Write the worlds; what is there already is left as it is."""
    for name, options in WORLDS.items():
        output = ["--output", f"{DATA}/{name}", "--image-size", "48"]
        _python("-m", "data_tools", "shapes", *output, *shlex.split(options), log=None)


def train_all(folder: Path, seeds: int, at_a_time: int) -> None:
    """The teacher and every arm with every seed.

    Raises:
        ProofError: a run failed; those that are done stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [partial(_train, folder, arm, seed) for seed in range(seeds) for arm in ARMS.values()]
    pool = ThreadPoolExecutor(at_a_time)
    try:
        for shared in [pool.submit(_train_shared, folder, name) for name in SHARED]:
            shared.result()
        waiting = [pool.submit(job) for job in jobs]
        for done in tqdm(as_completed(waiting), "proof", len(waiting), unit="run"):
            done.result()
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise


def run_folder(folder: Path, arm: str, seed: int) -> Path:
    """Where the run of an arm is."""
    return folder / f"{arm}-{seed}"


def _train_shared(folder: Path, name: str) -> None:
    _run(folder / name, *_shared(name), captions=False)


def _shared(name: str) -> tuple[list[str], list[str]]:
    """Recipes and options of a run that others begin from or learn from."""
    return [f"{RECIPES}/{overlay}.yaml" for overlay in ("base", *SHARED[name])], []


def _train(folder: Path, arm: Arm, seed: int) -> None:
    options = ["--seed", str(seed)]
    for option, name in arm.uses:
        options += [option, str(folder / name)]
    _run(run_folder(folder, arm.name, seed), arm.recipes, options, captions=arm.captions)


def _run(run: Path, recipes: list[str], options: list[str], *, captions: bool) -> None:
    """Train and evaluate, unless that was done with the same recipes and data."""
    begun = {"key": _key(recipes, options), "done": False}
    done = {**begun, "done": True}
    mark = run / MARK
    found = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else None
    if found == done:
        return
    if found != begun:  # made with other recipes or data
        shutil.rmtree(run, ignore_errors=True)
    write_json(mark, begun)
    configs = [word for recipe in recipes for word in ("--config", recipe)]
    log = run / "log.txt"
    _python("-m", "training.train", *configs, "--run", str(run), *options, log=log)
    if captions:
        task = ["--task", "captioning", "--data", f"{DATA}/shapes", "--limit", str(CAPTIONED)]
        output = ["--output", str(run / "eval" / "captioning")]
        _python("-m", "eval", "run", str(run), *task, *output, log=log)
    write_json(mark, done)


def _key(recipes: list[str], options: list[str]) -> str:
    """Of everything that a run depends on besides the code. A recipe's comments do not count."""
    texts = [(ROOT / recipe).read_text(encoding="utf-8") for recipe in recipes]
    made_of = [json.dumps(yaml.safe_load(text)) for text in texts]
    files = sorted((ROOT / "training" / "recipes" / "models").rglob("shapes_*/*"))
    files += [ROOT / "training" / "recipes" / "models" / "shapes_48.json"]
    for world in WORLDS:
        if any(f"{DATA}/{world}/" in text for text in made_of):
            files += sorted((ROOT / DATA / world).glob("*/manifest.json"))
            files += sorted((ROOT / DATA / world).glob("*/annotations/*/*.parquet"))
    used = [name for name in SHARED if any(option.endswith(f"/{name}") for option in options)]
    made_of += [_key(*_shared(name)) for name in used]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return hashlib.sha256(json.dumps([made_of, options, digests]).encode()).hexdigest()


def _python(*arguments: str, log: Path | None) -> None:
    """Run a command of the project on one core."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    if log is None:
        done = subprocess.run(command, cwd=ROOT, env=environment)
    else:
        with open(log, "ab") as file:
            done = subprocess.run(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    if done.returncode:
        where = f"; see {log}" if log else ""
        raise ProofError(f"`{shlex.join(command)}` ended with {done.returncode}{where}")
