"""What every command must give, however it is run: the cases of the conformance test.

A case copies what it reads into a folder of its own and runs commands there. Each case ends with
the same bytes at any number of workers, by any executor, in parts in any order, and after kills.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
    annotating("filter", "--where", "words > 5 AND lot < 0.8 AND language = 'en'"),
    annotating("filter-top", "--top", "chars:0.5", "--name", "keep-top"),
    Case(
        "balance",
        lambda d: ["balance", d / "data", "--metadata", d / "data" / "entries.txt", "--limit", 3],
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
    annotating("counts", "--unverified", "--balance", 2),
    annotating("negatives", "--captions", "all", "--refine", "ngram"),
]  # fmt: skip
