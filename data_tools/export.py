"""`export`: shards with their sidecars in the forms that other tools read."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data_tools.annotate import conserved
from data_tools.destination import LocalFolder
from data_tools.engine import Options, Run, own_part
from data_tools.exporting.formats import FORMATS, Contents, contents_of
from data_tools.exporting.hugging_face import columns_of
from data_tools.exporting.job import Job, finished, join_ledgers, open_folder, tidy
from data_tools.filtering.kept import keep_names
from data_tools.manifest import sha256_json
from data_tools.resharding.found import common_names
from data_tools.samples import find_shards
from vlp.errors import InputError, RunError

_DEFAULT_SPLIT = "train"


@dataclass(frozen=True, kw_only=True)
class Export(Options):
    """Write shards for open_clip, as a table with picture files, or for Hugging Face datasets.

    Pictures keep their bytes. A sample without a picture or a caption is not exported, but counted
    and named in .export/dropped.jsonl. Only --choose random draws.

    Args:
        shards: tars, folders of tars, or patterns such as 'data/{00000..00099}.tar'.
        output: folder of what is written.
        format: open-clip-txt has one text of each sample as .txt, which released versions train
            on, and the original in the .json as original_caption; open-clip-json has every text as
            a field of the .json; csv is captions.tsv with picture files; hf is what
            datasets.load_dataset reads.
        texts: sidecars to export, with commas between, '' for none; without it all that the format
            can hold (rewrites, negatives, counts; for hf any).
        choose: the one text of each sample, for open-clip-txt (first without it) and csv (every
            caption and rewrite without it); first is the original, random is drawn from captions
            and rewrites.
        keep: keep sidecars, with commas between; a sample must be kept by all of them.
        restart: remove what an earlier run wrote in output, and write it anew.
    """

    shards: list[str]
    output: Path
    format: Literal["open-clip-txt", "open-clip-json", "csv", "hf"]
    texts: str | None = None
    choose: Literal["first", "random"] | None = None
    keep: str | None = None
    restart: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.choose is not None and not FORMATS[self.format].can_choose:
            raise InputError(f"--choose {self.choose}: --format {self.format} holds every text")
        if self.texts and self._is_original_alone:
            raise InputError(f"--texts {self.texts}: only with --choose random")
        if self.restart and not self.is_whole:
            raise InputError(
                "--restart: would remove what the other parts have written; give it without --part"
            )

    @property
    def _is_original_alone(self) -> bool:
        return self.format == "open-clip-txt" and self.choose != "random"


def export(options: Export) -> None:
    """Run the command.

    Raises:
        InputError: the options or the shards cannot be used.
        RunError: a shard could not be exported, something was lost, or no sample is exported.
    """
    shards = find_shards(options.shards)
    folder = LocalFolder(options.output)
    if options.output.resolve() in {shard.resolve().parent for shard in shards}:
        raise InputError(f"--output {folder}: the shards lie there; choose another folder")
    chosen = FORMATS[options.format]
    texts = "" if options._is_original_alone else options.texts
    contents = contents_of(shards, texts, chosen, options)
    jobs = _jobs(shards, contents, options)
    with folder.held(options.part):
        open_folder(folder.path, _settings(shards, contents, options), options.restart)
        tidy(folder.path)
        run = _write(jobs, options)
        found = [finished(job) for job in jobs]
        done = [counts for counts in found if counts is not None]
        told: list[str] = []
        if len(done) == len(jobs):
            told, ledger = chosen.close(jobs, done), join_ledgers(jobs)
            if not any(counts["exported"] for counts in done):
                told = []  # how to read what has no sample
            if ledger.stat().st_size:
                told.append(f"what was dropped: {ledger}")
    _report(sum(done, Counter()), len(done), len(jobs), options)
    for line in told:
        print(line, flush=True)
    run.finish()
    if len(done) == len(jobs) and not any(counts["exported"] for counts in done):
        raise RunError(f"--output {folder}: not one sample is exported")


def _settings(shards: Sequence[Path], contents: Contents, options: Export) -> dict[str, Any]:
    """What a resumed run must share."""
    return {
        "format": options.format,
        "sidecars": list(contents.sidecars),
        "choose": options.choose,
        "seed": options.seed if options.choose == "random" else None,
        "keep": keep_names(options.keep),
        "shards": common_names(shards),
    }


def _jobs(shards: Sequence[Path], contents: Contents, options: Export) -> list[Job]:
    settings_sha256 = sha256_json(_settings(shards, contents, options))
    split = _split(shards)
    is_table = options.format == "hf"
    columns = columns_of(contents.sidecars, contents.extensions) if is_table else pa.schema([])
    return [
        Job(
            shard=shard,
            name=name,
            number=number,
            total=len(shards),
            output=options.output,
            settings_sha256=settings_sha256,
            keep=tuple(keep_names(options.keep)),
            sidecars=tuple(contents.sidecars),
            choose=options.choose,
            seed=options.seed,
            split=split,
            columns=columns,
        )
        for number, (shard, name) in enumerate(zip(shards, common_names(shards), strict=True))
    ]


def _split(shards: Sequence[Path]) -> str:
    """The split that all shards were built as; train where that is not known."""
    splits: set[str] = set()
    for folder in {shard.parent for shard in shards}:
        try:
            told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["split"]
        except (OSError, ValueError, KeyError, TypeError):
            told = ""
        splits.add(str(told))
    split = splits.pop()
    return split if not splits and re.fullmatch(r"\w+", split) else _DEFAULT_SPLIT


def _write(jobs: Sequence[Job], options: Export) -> Run[Job, Counter[str]]:
    own = own_part(jobs, options)
    missing = [job for job in own if finished(job) is None]
    if len(missing) < len(own):
        done = len(own) - len(missing)
        print(f"{done:,} of {len(own):,} shards are finished already", flush=True)
    run = Run(FORMATS[options.format].write, missing, options, what="exporting")
    run.results()
    return run


def _report(counts: Counter[str], done: int, total: int, options: Export) -> None:
    """Print the balance of the shards that are finished.

    Raises:
        RunError: it does not add up.
    """
    print(f"{options.output}: {done:,} of {total:,} shards as {options.format}")
    names = ["exported", *sorted(name for name in counts if name.startswith("dropped ("))]
    print(conserved(counts["samples"], {name: counts[name] for name in names}))
    texts = {name: count for name, count in sorted(counts.items()) if name.startswith("texts from")}
    if texts:
        told = ", ".join(f"{n:,} {name.removeprefix('texts ')}" for name, n in texts.items())
        print(f"{sum(texts.values()):,} texts: {told}")
    if done < total:
        print("the run that finds all shards finished writes what belongs to all of them")
