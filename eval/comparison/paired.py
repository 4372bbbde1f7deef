"""Two checkpoints on what both were evaluated on: what may be compared, and how they differ.

A difference is taken sample by sample, so its interval is far narrower than the intervals of the
two results suggest. Results under different protocols are refused, with what differs.
"""

from dataclasses import replace

import numpy as np

from eval import predictions
from eval.comparison.comparison import Comparison, Pair, Refused, Row, Wanted, holm
from eval.comparison.flips import NONE, discordant, find_flips
from eval.comparison.sides import Side
from eval.interface import Array
from eval.metric_names import above_chance, main_metric
from eval.records import compared_digest, compared_protocol, title_of
from eval.report.protocols import short, told_apart
from eval.report.run_folder import chance_of
from eval.stored_results import Result
from vlp.metrics.outcomes import Difference, Outcome, compare


def compare_sides(a: Side, b: Side, wanted: Wanted) -> Comparison:
    """Compare what both have of what is wanted.

    Raises:
        ValueError: there is nothing that both have, or nothing of it may be compared.
    """
    ours, theirs = _by_title(a, wanted), _by_title(b, wanted)
    common = [title for title in ours if title in theirs]
    if not common:
        everything = {title: None for side in (a, b) for title in _by_title(side, Wanted())}
        there = f"; there are {', '.join(everything)}" if not ours and not theirs else ""
        raise ValueError(
            f"A and B were evaluated on nothing in common: A on {_listed(ours)}; B on "
            f"{_listed(theirs)}{there}"
        )
    pairs: list[Pair] = []
    refused: list[Refused] = []
    for title in common:
        matched = _matched(ours[title], theirs[title])
        if not matched:
            refused.append(Refused(title=title, reason=_why(ours[title][-1], theirs[title][-1])))
        for suffix, one, other in matched:
            try:
                pairs.append(_compared(title + suffix, one, other, wanted))
            except ValueError as error:
                refused.append(Refused(title=title + suffix, reason=str(error)))
    if not pairs:
        reasons = "\n".join(f"  {one.title}: {one.reason}" for one in refused)
        raise ValueError(f"nothing can be compared:\n{reasons}")
    return Comparison(
        a=a.name,
        b=b.name,
        pairs=_with_adjusted(pairs),
        refused=refused,
        alone={
            "A": [title for title in ours if title not in theirs],
            "B": [title for title in theirs if title not in ours],
        },
        seed=wanted.seed,
    )


def _by_title(side: Side, wanted: Wanted) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in side.results:
        record = result.record
        if wanted.task in (None, record["task"]) and wanted.dataset in (None, record["dataset"]):
            found.setdefault(title_of(record), []).append(result)
    return found


def _matched(ours: list[Result], theirs: list[Result]) -> list[tuple[str, Result, Result]]:
    """The newest results of both under each protocol that both have, with what tells it apart."""
    first, second = (
        {compared_digest(result.record): result for result in group} for group in (ours, theirs)
    )
    common = [digest for digest in first if digest in second]
    apart = told_apart([compared_protocol(first[digest].record) for digest in common])
    return [
        (f" ({what})" if what else "", first[digest], second[digest])
        for digest, what in zip(common, apart, strict=True)
    ]


def _why(a: Result, b: Result) -> str:
    """What differs between two protocols."""
    one, other = compared_protocol(a.record), compared_protocol(b.record)
    differing = sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))
    values = (f"{n} is {short(one.get(n))} of A, {short(other.get(n))} of B" for n in differing)
    return f"other protocols: {'; '.join(values)}"


def _compared(title: str, a: Result, b: Result, wanted: Wanted) -> Pair:
    """Raises ValueError when predictions are missing or of other samples."""
    saved = _read("A", a), _read("B", b)
    _check_samples(saved[0]["key"], saved[1]["key"])
    outcomes = predictions.outcomes(saved[0]), predictions.outcomes(saved[1])
    main = main_metric(a.record)
    names = list(a.record["metrics"]) if wanted.metrics == "all" else [main] if main else []
    rows = [_row(name, (a, b), outcomes, wanted.seed) for name in names if _both(name, a, b)]
    flips = NONE
    if main in outcomes[0] and main in outcomes[1]:
        flips = find_flips(saved, (outcomes[0][main], outcomes[1][main]), wanted.flips)
    return Pair(title=title, a=a, b=b, rows=rows, flips=flips)


def _both(name: str, a: Result, b: Result) -> bool:
    return all(result.record["metrics"].get(name) is not None for result in (a, b))


def _row(
    name: str,
    results: tuple[Result, Result],
    outcomes: tuple[dict[str, Outcome], dict[str, Outcome]],
    seed: int,
) -> Row:
    values = results[0].record["metrics"][name], results[1].record["metrics"][name]
    one, other = outcomes[0].get(name), outcomes[1].get(name)
    if one is None or other is None:
        difference = Difference(value=values[0] - values[1], interval=None, p=None, test="none")
    else:
        difference = compare(one, other, seed=seed)
    chances = [chance_of(result.record).get(name) for result in results]
    return Row(
        metric=name,
        values=values,
        difference=difference,
        above_chance=(
            above_chance(name, values[0], chances[0]),
            above_chance(name, values[1], chances[1]),
        ),
        discordant=None if one is None or other is None else discordant(one, other),
    )


def _with_adjusted(pairs: list[Pair]) -> list[Pair]:
    tested = [row.difference.p for pair in pairs for row in pair.rows]
    known = iter(holm([p for p in tested if p is not None]))

    def adjust(row: Row) -> Row:
        return row if row.difference.p is None else replace(row, adjusted=next(known))

    return [replace(pair, rows=[adjust(row) for row in pair.rows]) for pair in pairs]


def _read(name: str, result: Result) -> dict[str, Array]:
    if result.predictions is None:
        raise ValueError(f"the predictions of {name} are gone, or a later evaluation replaced them")
    return predictions.read(result.predictions)


def _check_samples(a: Array, b: Array) -> None:
    """Raises ValueError unless both could read the same samples."""
    if np.array_equal(a, b):
        return
    alone = sorted(set(a.tolist()) ^ set(b.tolist()))
    first = (
        f"{len(alone)} are in one of them alone, the first {alone[0]!r}" if alone else "reordered"
    )
    raise ValueError(f"other samples: A has {len(a):,}, B {len(b):,}; {first}")


def _listed(found: dict[str, list[Result]]) -> str:
    return ", ".join(found) or "nothing that is asked for"
