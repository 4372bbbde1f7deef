"""What every command must give, however it is run: the cases of the conformance test.

A case copies what it reads into a folder of its own and runs commands there. Each case ends with
the same bytes at any number of workers, by any executor, in parts in any order, and after kills.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_tools.__main__ import main
from tests.data_tools.conftest import jpeg
from tests.data_tools.test_score import model_folder
from tests.data_tools.trees import files

Arguments = list[object]
Prepare = Callable[[Path, Path], None]  # (what the world holds, the case's folder)


@dataclass(frozen=True)
class Case:
    """One command line; `arguments` gets the case's folder."""

    name: str
    arguments: Callable[[Path], Arguments]
    prepare: Prepare
    has_parts: bool = True  # False where parts are asked to give something else


def nothing(world: Path, folder: Path) -> None:
    """An empty folder."""


def shards(world: Path, folder: Path) -> None:
    """The world's shards with their sidecars, to be annotated."""
    shutil.copytree(world / "data", folder / "data")


def raw(world: Path, folder: Path) -> None:
    """The world's pictures and tables, to be built from."""
    shutil.copytree(world / "raw", folder / "raw")


def bare(world: Path, folder: Path) -> None:
    """Shards without an index."""
    shards(world, folder)
    shutil.rmtree(folder / "data" / "annotations")


def damaged(world: Path, folder: Path) -> None:
    """Shards of which one is cut and one has a zeroed header."""
    shards(world, folder)
    cut, zeroed = folder / "data" / "00001.tar", folder / "data" / "00004.tar"
    cut.write_bytes(cut.read_bytes()[:1700])
    data = bytearray(zeroed.read_bytes())
    data[:512] = bytes(512)
    zeroed.write_bytes(data)


def with_model(world: Path, folder: Path) -> None:
    """Shards, and a tiny model to score them."""
    shards(world, folder)
    shutil.copytree(world / "model", folder / "model")


def annotating(name: str, *options: object, prepare: Prepare = shards) -> Case:
    """A case of a command that writes sidecars."""
    return Case(name, lambda d: [name.partition("-")[0], d / "data", *options], prepare)


def writing(name: str, *options: object, prepare: Prepare = shards) -> Case:
    """A case of a command that writes other shards or files."""
    command = name.partition("-")[0]
    return Case(name, lambda d: [command, d / "data", "--output", d / "out", *options], prepare)


CASES = [
    Case(
        "build",
        lambda d: ["build", "--input", d / "raw" / "captions.tsv", "--output", d / "out",
                   "--samples-per-shard", 3, "--split-column", "split"],
        raw,
    ),
    Case(
        "build-pixels",
        lambda d: ["build", "--input", d / "raw" / "captions.tsv", "--output", d / "out",
                   "--samples-per-shard", 2, "--image-size", 12],
        raw,
    ),
    annotating("index", prepare=bare),
    Case("shapes", lambda d: ["shapes", "--output", d / "out", "--pairs", 40], nothing),
    Case(
        "stats",
        lambda d: ["stats", d / "data", "--output", d / "stats.json"],
        shards,
        has_parts=False,
    ),
    Case(
        "validate",
        lambda d: ["validate", d / "data", "--level", "decode", "--report", d / "report.jsonl"],
        damaged,
        has_parts=False,
    ),
    writing("repair", prepare=damaged),
    writing("reshard", "--samples-per-shard", 3, "--shuffle", "--keep", "keep-world"),
    writing("reshard-rekey", "--samples-per-shard", 4, "--rekey"),
    *(
        writing(f"export-{name}", "--format", name)
        for name in ("open-clip-json", "csv", "hf")
    ),
    writing("export-txt", "--format", "open-clip-txt", "--choose", "random"),
    Case(
        "score",
        lambda d: ["score", d / "data", "--model", d / "model", "--embeddings", "embeddings"],
        with_model,
    ),
    Case(
        "filter",
        lambda d: ["filter", d / "data", "--ledger", d / "dropped.jsonl", "--ids", d / "ids.txt",
                   "--where", "words > 5 AND lot < 0.8 AND language = 'en'"],
        shards,
    ),
    annotating("filter-top", "--top", "chars:0.5", "--name", "keep-top"),
    Case(
        "balance",
        lambda d: ["balance", d / "data", "--metadata", d / "data" / "entries.txt", "--limit", 3,
                   "--counts", d / "counts.tsv"],
        shards,
    ),
    annotating("dedup-exact", "--by", "exact"),
    annotating("dedup-phash", "--by", "phash"),
    annotating("dedup-semantic", "--by", "semantic", "--embeddings", "embeddings-world"),
    Case(
        "rewrite",
        lambda d: ["rewrite", d / "data", "--backend", "replay", "--answers",
                   d / "data" / "answers.jsonl", "--variants", 2, "--preset", "rephrase"],
        shards,
    ),
    Case(
        "counts",
        lambda d: ["counts", d / "data", "--unverified", "--balance", 2,
                   "--ledger", d / "left_out.jsonl"],
        shards,
    ),
    annotating("negatives", "--captions", "all", "--refine", "ngram"),
]  # fmt: skip


_CAPTIONS = (
    "two dogs run over green grass",
    "a red car stands in front of a house",
    "three children play with a blue ball",
    "a man rides a brown horse on the beach",
)


def make_world(folder: Path, arch: str) -> Path:
    """Pictures with captions, and the seven shards that are built of them."""
    (folder / "raw").mkdir()
    rows = ["image\tcaption\tsplit"]
    for number in range(14):
        (folder / "raw" / f"{number}.jpg").write_bytes(jpeg(number % 12))
        split = "test" if number % 5 == 4 else "train"
        rows.append(f"{number}.jpg\t{_CAPTIONS[number % 4]} {number}\t{split}")
        rows.append(f"{number}.jpg\tpicture number {number}\t{split}")
    (folder / "raw" / "captions.tsv").write_text("\n".join(rows) + "\n")
    data = folder / "data"
    run(["build", "--input", folder / "raw" / "captions.tsv", "--output", data,
         "--samples-per-shard", 2, "--workers", 1])  # fmt: skip
    (data / "entries.txt").write_text("dogs\nred car\nchildren\nhorse\npicture number\nthe\n")
    answers = [
        {"key": f"{n // 2:05d}{n % 2:04d}", "answers": [f"{_CAPTIONS[n % 4]}, seen {n}", "no"]}
        for n in range(14)
    ]
    (data / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)) + "\n")
    model_folder(folder / "model", arch, 1)
    _annotate(folder)
    return folder


def _annotate(world):
    """Sidecars that other commands read."""
    one = ["--executor", "serial"]
    for arguments in (
        ["filter", world / "data", "--where", "lot < 0.7", "--name", "keep-world"],
        ["negatives", world / "data", "--name", "negatives-world"],
        ["counts", world / "data", "--unverified", "--name", "counts-world"],
        ["score", world / "data", "--model", world / "model", "--name", "scores-world",
         "--embeddings", "embeddings-world"],
        ["rewrite", world / "data", "--backend", "replay", "--preset", "rephrase", "--answers",
         world / "data" / "answers.jsonl", "--name", "rewrites-world"],
    ):  # fmt: skip
        run([*arguments, *one])


def by_name(case):
    """For the ids of parameters."""
    return case.name


def run(arguments):
    """`python -m data_tools ARGUMENTS` in this process; validation may end with 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["data_tools", *map(str, arguments)])
        assert main() in (0, 1)


def tree(case, world, folder, *further):
    """What a case leaves, after runs with these further arguments, one run for each."""
    folder.mkdir()
    case.prepare(world, folder)
    for arguments in further:
        run([*case.arguments(folder), *arguments])
    return {name: data.replace(os.fsencode(folder), b"") for name, data in files(folder).items()}


def same(found, wanted):
    """Compared name by name, so that a difference is told and not printed in full."""
    assert sorted(found) == sorted(wanted)
    assert [name for name in found if found[name] != wanted[name]] == []
