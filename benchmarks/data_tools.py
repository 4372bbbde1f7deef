"""How fast the data tools are, each beside the plain way to do the same work, in one process.

    python benchmarks/data_tools.py [--pictures 20000] [--entries 300000] [--turns 3]

`validate` (headers) beside GNU tar's listing and webdataset's reader, which read the same shard
from the same warm page cache and miss most damage; `index` beside the standard library's tarfile;
`build` beside a loop that reads, decodes and, where needed, encodes the same pictures and writes
nothing; `balance` beside searching each entry in each caption, on as few captions as that allows.
Ways take turns; medians and their ratio are printed.
"""

import io
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli
from PIL import Image
from webdataset import WebDataset

sys.path.insert(0, str(Path(__file__).parents[1]))

from data_tools.balancing.entries import Matcher
from data_tools.build import Build, build
from data_tools.building.pictures import Policy, store
from data_tools.defects.samples import Checks
from data_tools.defects.scanner import Job, check_shard
from vlp.data.images import MAX_PIXELS
from vlp.data.index import write_index
from vlp.data.tar import write_tar

_WORDS = ("a", "red", "dog", "runs", "on", "the", "beach", "two", "men", "near", "old", "house")
_PICTURE_BYTES = 30_000  # of a sample in the shard whose headers are read


def main(pictures: int = 20_000, entries: int = 300_000, turns: int = 3) -> None:
    """Measure and print.

    Args:
        pictures: samples of the shard that is validated and indexed; a twentieth of them is built.
        entries: of the list that `balance` matches.
        turns: of each way.
    """
    with tempfile.TemporaryDirectory() as folder:
        shard = make_shard(Path(folder), pictures)
        size = shard.stat().st_size
        compare_validate(shard, size, turns)
        compare_index(shard, pictures, turns)
        compare_build(Path(folder), max(100, pictures // 20), turns)
    compare_balance(entries, turns)


def make_shard(folder: Path, samples: int) -> Path:
    """One shard of random bytes as pictures: headers are read, and nothing is decoded."""
    rng = np.random.default_rng(0)
    data = rng.bytes(2 * _PICTURE_BYTES)
    path = folder / "00000.tar"

    def sample(number: int) -> tuple[str, dict[str, bytes]]:
        size = int(rng.integers(_PICTURE_BYTES // 2, 3 * _PICTURE_BYTES // 2))
        caption = " ".join(rng.choice(_WORDS, 12)).encode()
        record = b'{"caption": "' + caption + b'"}'
        return f"{number:09d}", {"jpg": data[:size], "json": record, "txt": caption}

    write_tar(path, map(sample, range(samples)))
    return path


def compare_validate(shard: Path, size: int, turns: int) -> None:
    """The headers level against readers that walk the same headers, and warn of little."""
    checks = Checks(level="headers", max_pixels=MAX_PIXELS, max_caption=1000)

    def listed() -> None:
        subprocess.run(["tar", "-tf", shard], stdout=subprocess.DEVNULL, check=True)

    def streamed() -> None:
        for _ in WebDataset(str(shard), shardshuffle=False, empty_check=False):
            pass

    ways = {
        "validate": lambda: check_shard(Job(shard, checks)),
        "GNU tar": listed,
        "webdataset": streamed,
    }
    show("validate --level headers", ways, turns, size / 1e9, "GB/s")


def compare_index(shard: Path, samples: int, turns: int) -> None:
    """`index` against listing the members with tarfile."""

    def listed() -> None:
        with tarfile.open(shard) as tar:
            assert len(tar.getmembers()) == 3 * samples

    ways = {"index": lambda: write_index(shard), "tarfile": listed}
    show("index", ways, turns, samples, "samples/s")


def compare_build(folder: Path, pictures: int, turns: int) -> None:
    """`build` against reading, decoding and encoding alone."""
    table = make_pictures(folder / "raw", pictures)
    files = sorted((folder / "raw").glob("*.jpg"))

    policy = Policy(image_size=128)

    def plain() -> None:
        for file in files:
            store(file.read_bytes(), policy)

    def built() -> None:
        shutil.rmtree(folder / "out", ignore_errors=True)
        build(Build(input=table, output=folder / "out", image_size=128, executor="serial"))

    show("build", {"build": built, "decode + encode": plain}, turns, pictures, "pictures/s")


def make_pictures(folder: Path, number: int) -> Path:
    """Smooth random JPEGs of 256 x 320 pixels, and the table that lists them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["image,caption"]
    for place in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((320, 256), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        (folder / f"{place:06d}.jpg").write_bytes(buffer.getvalue())
        lines.append(f"{place:06d}.jpg,{' '.join(rng.choice(_WORDS, 8))}")
    table = folder / "captions.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def compare_balance(entries: int, turns: int) -> None:
    """Matching captions with a list of entries, against one search an entry."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    drawn = ["".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(30_000)]
    words = list(dict.fromkeys(drawn))
    pairs = rng.integers(0, len(words), (entries - len(words), 2))
    # single words are matched, most pairs are not
    listed = list(dict.fromkeys([*words, *(f"{words[a]} {words[b]}" for a, b in pairs)]))
    captions = [" ".join(words[i] for i in rng.integers(0, len(words), 12)) for _ in range(20_000)]
    few = captions[:20]
    begin = time.perf_counter()
    match = Matcher(listed)
    print(f"balance: {len(listed):,} entries, automaton in {time.perf_counter() - begin:.2f} s")

    def naive() -> list[set[int]]:
        spaced = [f" {caption} " for caption in few]
        return [{i for i, e in enumerate(listed) if f" {e} " in text} for text in spaced]

    assert naive() == [match(caption) for caption in few]
    show("  all captions", {"balance": lambda: list(map(match, captions))}, turns, len(captions),
         "captions/s")  # fmt: skip
    show(f"  {len(few)} captions", {"balance": lambda: list(map(match, few)), "each entry": naive},
         turns, len(few), "captions/s")  # fmt: skip


def show(
    title: str, ways: dict[str, Callable[[], object]], turns: int, amount: float, unit: str
) -> None:
    """Time the ways in turn; print the median rate of each and the ratio of the first to others."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begin)
    print(title)
    first = next(iter(ways))
    for name, found in seconds.items():
        ratios = [b / a for a, b in zip(seconds[first], found, strict=True)]
        rate = amount / statistics.median(found)
        beside = "" if name == first else f"  {first} is {statistics.median(ratios):.2f}x as fast"
        beside += "" if name == first else f" ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {name:>16}  {rate:12,.2f} {unit}{beside}")


if __name__ == "__main__":
    auto_cli(main)
