"""What a result depends on, as one key: a result with the same key need not be computed again."""

import glob
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eval.datasets import EvalDataset
from eval.interface import Encodes
from eval.prompts import language_file
from eval.results import SCHEMA
from eval.spec import EvalSpec
from vlp.data.index import sidecar_path

# options that say where the data lie and how they are read, and not what is computed
_PLACES = ("data", "split", "workers", "ood", "shifted")
_ROOT = Path(__file__).parents[1]
_COMPUTES = ("vlp/metrics", "eval/tasks", "eval/datasets")
_FILES = ("classnames", "templates", "prompts", "positives")  # options that name a file


def key_of(
    encoder: Encodes,
    spec: EvalSpec,
    dataset: EvalDataset,
    more: Mapping[str, EvalDataset],
    main: str,
) -> str:
    """sha256 of all that a result depends on, known before it is computed.

    Args:
        encoder: the model.
        spec: with the options that the task reads.
        dataset: what is scored.
        more: the further sets of the task.
        main: its metric of the summary.
    """
    options = {
        name: _content(value) if name in _FILES else value
        for name, value in asdict(spec).items()
        if name not in _PLACES
    }
    if spec.language != "en":
        files = [
            language_file(dataset, spec.language, name) for name in ("classnames", "templates")
        ]
        options["language"] = [spec.language, *(file and _content(str(file)) for file in files)]
    code = [SCHEMA, version("vlp"), _sources(), main]
    sets = {name: _state(other) for name, other in {**more, "": dataset}.items()}
    what = [code, encoder.fingerprint, encoder.protocol, sets, options]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@cache
def _sources() -> str:
    """sha256 of the code that computes a result: a mended metric is computed again."""
    digest = hashlib.sha256()
    for folder in _COMPUTES:
        for file in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _content(path: str | None) -> str | None:
    """Of an option that names a file its content: the file may change under its name."""
    if path is None or not Path(path).expanduser().is_file():
        return path
    return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()


def _state(dataset: EvalDataset) -> list[Any]:
    """What a data set holds, as far as its fingerprint does not tell: prompts and ids beside it,
    and when its pictures and sidecars were changed.
    """
    pictures = dict.fromkeys(place.file for place in dataset.places if place)
    shards = dict.fromkeys(source.shard for source in dataset.sources or ())
    sidecars = [path for shard in shards for path in _sidecars(shard)]
    choices, judged = dataset.selection, dataset.judgements
    how = [choices and (choices.chosen, choices.macro_from), judged and judged.variant]
    return [
        *(dataset.name, dataset.split, dataset.fingerprint, how),
        *(dataset.templates, dataset.numbers, dataset.caption_ids),
        [_changed(file) for file in pictures],
        [place and place.box for place in dataset.places],
        [(path.parent.name, path.name, _changed(path)) for path in sidecars],
    ]


def _sidecars(shard: str) -> list[Path]:
    index = sidecar_path(shard, "index")
    found = index.parents[1].glob(f"*/{glob.escape(index.name)}")
    return sorted(path for path in found if path != index)


def _changed(file: str | Path) -> int | None:
    """In nanoseconds; None where there is no such file."""
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return None
