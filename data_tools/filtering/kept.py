"""Keep sidecars as the commands write them: each sample, with the rule that dropped it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data_tools.annotate import HEAD, Annotated, Made, conserved, read_sidecar
from data_tools.samples import open_index
from vlp.data.keep import keep_column
from vlp.data.sidecars import KEEP, kind_of
from vlp.errors import InputError

NO_ROW = "samples without a row of their caption in "  # a count, with the sidecar's name
SCHEMA = pa.schema([*HEAD, ("keep", pa.bool_()), ("rule", pa.string()), ("value", pa.string())])


@dataclass(frozen=True)
class Verdict:
    """Why a sample is dropped: the rule that it failed, and its value there."""

    rule: str
    value: str
    group: str  # under which it is counted


def check_name(name: str, after: str | None) -> None:
    """Raises InputError unless both are names of keep sidecars, and differ."""
    for option, given in (("--name", name), ("--after", after)):
        if given is None:
            continue
        try:
            kind = kind_of(given)
        except ValueError:
            kind = ""
        if kind != KEEP or "/" in given:
            raise InputError(f"{option} {given}: expected '{KEEP}' or '{KEEP}-SUFFIX'")
    if name == after:
        raise InputError(f"--after {after}: this is the sidecar to be written; give another --name")


def keep_names(given: str | None) -> list[str]:
    """The keep sidecars of an option --keep, with commas between; none without the option.

    Raises:
        InputError: it names none.
    """
    names = [name.strip() for name in (given or "").split(",") if name.strip()]
    if given is not None and not names:
        raise InputError(f"--keep {given!r}: names no sidecar")
    return names


def dropped_before(shard: Path, after: str | None) -> list[Verdict | None]:
    """What an earlier keep sidecar dropped, in the order of the shard.

    Raises:
        InputError: it is missing, or does not know every sample.
    """
    if after is None:
        return [None] * len(open_index(shard))
    table = read_sidecar(shard, after)
    try:
        keep = keep_column(shard, after)
    except (ValueError, KeyError) as error:
        raise InputError(str(error)) from None
    names = [name for name in ("rule", "value") if name in table.column_names]
    reasons = {row["key"]: row for row in table.select(["key", *names]).to_pylist()}
    keys = open_index(shard).table["key"].to_pylist()
    return [
        None
        if kept
        else Verdict(
            f"{after}: {reasons[key].get('rule') or 'dropped'}",
            str(reasons[key].get("value")),
            after,
        )
        for key, kept in zip(keys, keep.tolist(), strict=True)
    ]


def made(
    shard: Path, verdicts: Sequence[Verdict | None], without_row: Mapping[str, int] | None = None
) -> Made:
    """The sidecar of a shard, and its counts by rule.

    Args:
        without_row: samples of which a sidecar that is asked knows nothing, by its name.
    """
    index = open_index(shard).table
    table = pa.table(
        {
            "key": index["key"],
            "src_sha256": index["src_sha256"],
            "keep": pa.array([verdict is None for verdict in verdicts], pa.bool_()),
            "rule": pa.array([v.rule if v else None for v in verdicts], pa.string()),
            "value": pa.array([v.value if v else None for v in verdicts], pa.string()),
        }
    )
    counts = Counter(samples=len(verdicts), kept=sum(v is None for v in verdicts))
    counts.update(f"dropped by {verdict.group}" for verdict in verdicts if verdict)
    counts.update({f"{NO_ROW}{name}": n for name, n in (without_row or {}).items() if n})
    return Made(table, counts)


def report(done: Annotated, groups: Iterable[str], name: str) -> None:
    """Print samples = kept + dropped by each rule, in the order of the rules.

    Raises:
        RunError: it does not add up.
    """
    counts = Counter({label: n for label, n in done.counts.items() if NO_ROW not in label})
    names = ["kept", *(f"dropped by {group}" for group in groups)]
    names += sorted(counts.keys() - {"samples", *names})
    line = conserved(counts["samples"], {label: counts[label] for label in names})
    can_train = counts["kept"] and not done.run.failures
    print(line + (f"; train with sidecars: [{name}]" if can_train else ""))
    for label in sorted(done.counts.keys() - counts.keys()):
        print(f"{done.counts[label]:,} {label}")
