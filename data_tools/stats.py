"""`stats`: what is in shards, as numbers (JSON), and as a page with histograms and pictures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_tools.describing.page import page
from data_tools.describing.shard import Described, describe
from data_tools.describing.summary import summarise, summary_lines
from data_tools.engine import Options, Run, own_part
from data_tools.samples import find_shards
from vlp.data.files import write_json, write_text
from vlp.data.leftovers import remove_leftovers
from vlp.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Stats(Options):
    """Count what shards hold: samples, sizes, captions, words, scripts, duplicates, sidecars.

    Pictures are measured from their headers alone. With --part the numbers are of that part.

    Args:
        shards: tars, folders of tars, or patterns such as 'data/{00000..00099}.tar'.
        output: the file of numbers; default stats.json beside the first shard, with --part
            stats-I-of-N.json.
        html: the page; default the name of the file of numbers with .html.
        pictures: samples that the page shows, drawn by the seed.
        sizes: also write sizes.json (samples per shard, which open_clip reads) beside the shards.
    """

    shards: list[str]
    output: Path | None = None
    html: Path | None = None
    pictures: int = 24
    sizes: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pictures < 0:
            raise InputError(f"--pictures {self.pictures}: expected 0 or more")
        if self.sizes and not self.is_whole:
            raise InputError(f"--sizes: needs all shards, and --part {self.part} has some")


def stats(options: Stats) -> None:
    """Run the command.

    Raises:
        InputError: nothing matches, or a shard has no index.
        RunError: some shards could not be read.
    """
    shards = own_part(find_shards(options.shards), options)
    if not shards:
        raise InputError(f"--part {options.part}: there are fewer shards than parts")
    part = "" if options.is_whole else "-" + options.part.replace("/", "-of-")
    output = options.output or shards[0].with_name(f"stats{part}.json")
    html = options.html or output.with_suffix(".html")
    run: Run[Path, Described] = Run(describe, shards, options, what="describing")
    described = run.results()
    if not described:
        run.finish()
    for path in (output, html):
        remove_leftovers(path)
    found = summarise(described, options.pictures, options.seed)
    write_json(output, found.numbers)
    write_text(html, page(found))
    print("\n".join(summary_lines(found.numbers)))
    print(f"numbers: {output}; page: {html}")
    run.finish()
    if options.sizes:
        _write_sizes(described)


def _write_sizes(shards: Sequence[Described]) -> None:
    """Write sizes.json of each folder; what it says of other shards that are there stays."""
    sizes: dict[Path, dict[str, int]] = {}
    for one in shards:
        folder = one.shard.parent
        if folder not in sizes:
            sizes[folder] = _sizes(folder)
        sizes[folder][one.shard.name] = len(one.keys)
    for folder, found in sizes.items():
        remove_leftovers(folder / "sizes.json")
        write_json(folder / "sizes.json", found)
        print(f"{folder / 'sizes.json'}: {len(found):,} shards")


def _sizes(folder: Path) -> dict[str, int]:
    try:
        told = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    there = {path.name for path in folder.glob("*.tar")}
    return {name: size for name, size in dict(told).items() if name in there}
