"""Predictions on disk: an .npz of arrays for each sample, with the outcomes of the metrics.

`outcome:METRIC:KIND:FIELD` are the fields of an outcome; everything else is of the task. Nothing in
such a file is ever unpickled.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from eval.interface import Array
from vlp.data.files import replace_atomically
from vlp.metrics.outcomes import (
    ClassMean,
    Computed,
    Linear,
    MeanAveragePrecision,
    Median,
    Outcome,
    Ratio,
)
from vlp.metrics.statistics import STATISTICS

_KINDS: Mapping[str, Callable[..., Outcome]] = {
    kind.__name__: kind for kind in (Ratio, ClassMean, Median, Linear, MeanAveragePrecision)
}
_COMPUTED = Computed.__name__
_NEEDED = ("data", "data_sha", "limit", "split", "key")
# what reading a damaged archive raises: its directory, its members, their names, no archive at all
_DAMAGE = (ValueError, BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, TypeError)


def write(path: Path, arrays: Mapping[str, Array], outcomes: Mapping[str, Outcome]) -> None:
    """Write both, atomically.

    Raises:
        ValueError: an array of Python objects, which could not be read.
    """
    everything = {name: np.asarray(array) for name, array in arrays.items()}
    for metric, outcome in outcomes.items():
        everything |= _to_arrays(metric, outcome)
    objects = [name for name, array in everything.items() if array.dtype.hasobject]
    if objects:
        raise ValueError(f"predictions {', '.join(objects)}: an array of Python objects")

    def save(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **everything)  # type: ignore[arg-type]  # its `allow_pickle`

    replace_atomically(path, save)


def read(path: Path) -> dict[str, Array]:
    """The arrays of a file.

    Raises:
        ValueError: no such file, or a damaged one.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            saved = {name: arrays[name] for name in arrays.files}
    except (*_DAMAGE, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    missing = [name for name in _NEEDED if name not in saved]
    if missing:
        raise ValueError(f"{path} cannot be read: it has no {', '.join(missing)}")
    return saved


def outcomes(saved: Mapping[str, Array]) -> dict[str, Outcome]:
    """{metric: outcome} of the arrays of a file.

    Raises:
        ValueError: a kind of outcome, or a statistic, that is not known.
    """
    found: dict[tuple[str, str], dict[str, Array]] = {}
    for name, array in saved.items():
        if name.startswith("outcome:"):
            metric, kind, field = name.removeprefix("outcome:").rsplit(":", 2)
            found.setdefault((metric, kind), {})[field] = array
    return {metric: _from_arrays(metric, kind, own) for (metric, kind), own in found.items()}


def _to_arrays(metric: str, outcome: Outcome) -> dict[str, Array]:
    kind = type(outcome).__name__
    if isinstance(outcome, Computed):
        own: dict[str, Array] = {"statistic": np.array(outcome.statistic)}
        own |= {f"{place:02d}": column for place, column in enumerate(outcome.columns)}
        own |= {} if outcome.units is None else {"units": outcome.units}
    else:
        own = {field.name: np.asarray(getattr(outcome, field.name)) for field in fields(outcome)}
    return {f"outcome:{metric}:{kind}:{name}": array for name, array in own.items()}


def _from_arrays(metric: str, kind: str, own: dict[str, Array]) -> Outcome:
    columns = tuple(own[name] for name in sorted(own) if name.isdecimal())
    statistic = str(own.get("statistic", ""))
    if kind == _COMPUTED and statistic in STATISTICS and columns:
        return Computed(statistic, columns, own.get("units"))
    try:
        outcome = _KINDS[kind](**own)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the outcome of {metric} is of an unknown kind: {kind} {statistic} with the fields "
            f"{', '.join(own)}"
        ) from error
    return outcome
