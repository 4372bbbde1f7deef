"""What `counts` prints: what became of every caption, and a table of the numbers."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_tools.annotate import conserved, read_sidecar
from data_tools.counting.keeping import Keeping, ledger_rows
from data_tools.counting.mining import ACCEPTED, OUTCOMES, UNUSABLE, first_accepted
from vlp.data.leftovers import replace_tidily
from vlp.data.numbers import NUMBERS


def caption_lines(counts: Counter[str]) -> list[str]:
    """The balance of all captions, and of what was left out by its reason."""
    outcomes = Counter[str]()
    reasons: dict[str, Counter[str]] = {}
    for name, count in counts.items():
        outcome, _, reason = name.partition(": ")
        if outcome in OUTCOMES:
            outcomes[outcome] += count
            if reason:
                reasons.setdefault(outcome, Counter())[reason] += count
    parts = {outcome: outcomes[outcome] for outcome in OUTCOMES}
    lines = [conserved(outcomes.total(), parts, "captions")]
    for outcome in OUTCOMES:
        if outcome in reasons:
            told = (f"{count:,} {reason}" for reason, count in reasons[outcome].most_common())
            lines.append(f"  {outcome}: {', '.join(told)}")
    if counts[UNUSABLE]:
        lines.append(f"  {counts[UNUSABLE]:,} {UNUSABLE}")
    return lines


def number_table(shards: Sequence[Path], keeping: Keeping) -> list[str]:
    """Of each number: captions that count, those that are verified, samples that are kept."""
    parsed, verified, kept = Counter[int](), Counter[int](), Counter[int]()
    rules = Counter[str]()
    for shard in shards:
        rows = read_sidecar(shard, keeping.mined).to_pylist()
        parsed.update(row["count"] for row in rows if row["count"] is not None)
        verified.update(row["count"] for row in rows if row["outcome"] == ACCEPTED)
        own = [row for row in first_accepted(iter(rows)) if keeping.keeps(row)]
        kept.update(row["count"] for row in own)
        rules.update(row["rule"] for row in own)
    lines = [f"{'number':<8}{'captions':>10}{'verified':>10}{'kept samples':>14}"]
    for number, word in [*NUMBERS.items(), (0, "all")]:
        values = [one[number] if number else one.total() for one in (parsed, verified, kept)]
        lines.append("{:<8}{:>10,}{:>10,}{:>14,}".format(word, *values))
    if rules:
        shares = ", ".join(f"{count:,} {rule}" for rule, count in rules.most_common())
        lines.append(f"kept by: {shares}")
    return lines


def write_ledger(path: Path, shards: Sequence[Path], keeping: Keeping) -> int:
    """Write every caption that was left out as a line of JSON; returns how many there are."""
    lines = 0

    def write(target: Path) -> None:
        nonlocal lines
        with open(target, "w", encoding="utf-8") as file:
            for shard in shards:
                for row in ledger_rows(shard, keeping):
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    lines += 1

    path.parent.mkdir(parents=True, exist_ok=True)
    replace_tidily(path, write)
    return lines
