"""The balances of `reshard`: what was in the inputs is in the output, or dropped and counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.annotate import conserved
from data_tools.manifest import Mark
from data_tools.resharding.ids import IdList
from data_tools.resharding.layout import Layout, Places
from data_tools.resharding.survey import Surveyed

_NAMED = 5
_TO_COME = "in shards still to come"


def print_inputs(
    inputs: Sequence[Surveyed], layout: Layout, lists: Sequence[IdList | None]
) -> None:
    """Print what was found, and what of the lists was not."""
    samples = int(layout.starts[-1])
    print(f"{len(inputs):,} input shards, {samples:,} samples", flush=True)
    for listed in filter(None, lists):
        missing = layout.not_found[listed.option]
        print(
            f"{listed.option}: "
            + conserved(
                len(listed.ids),
                {"found": len(listed.ids) - len(missing), "not found": len(missing)},
                "uids" if listed.is_uids else "keys",
            )
            + _named(missing, " (")
        )
        if listed.repeated:
            count = len(listed.repeated)
            print(f"  {count:,} named more than once, and counted once" + _named(listed.repeated))
    others = [path for one in inputs for path in one.other_files]
    if others:
        print(f"{len(others):,} files beside sidecars are not carried: {others[0]}" + _more(others))


@dataclass(frozen=True)
class Balance:
    """The marks of the output shards against what the inputs held."""

    inputs: Sequence[Surveyed]
    layout: Layout
    marks: Sequence[Mark | None]  # of every output shard; None where it is not finished
    sidecars: Sequence[str]

    def show(self, folder: str) -> None:
        """Print them all.

        Raises:
            RunError: one does not add up.
        """
        done = [mark for mark in self.marks if mark is not None]
        kept = self.layout.reason < 0
        print(f"{folder}: {sum(m['successes'] for m in done):,} samples in {len(done):,} shards")
        print(conserved(len(kept), self._parts("successes", np.ones(len(kept), np.int64))))
        sizes = np.concatenate([one.sizes for one in self.inputs])
        print(conserved(int(sizes.sum()), self._parts("member_bytes", sizes), "bytes of members"))
        self._show_tables()
        for name in self.sidecars:
            self._show_sidecar(name, done)
        if len(done) < len(self.marks):
            print(
                f"{len(self.marks) - len(done):,} of {len(self.marks):,} shards are still to come; "
                "the run that finds them all finished completes the manifest",
                flush=True,
            )

    def _show_tables(self) -> None:
        rows = np.concatenate([one.table_rows for one in self.inputs])
        failures = sum((one.failures for one in self.inputs), Counter[str]())
        total = int(rows.sum()) + failures.total()
        parts = self._parts("table_rows", rows) | dict(sorted(failures.items()))
        print(conserved(total, parts, "rows of tables"))

    def _show_sidecar(self, name: str, done: Sequence[Mark]) -> None:
        rows = np.concatenate(
            [one.sidecar_rows.get(name, np.zeros(len(one.keys), np.int64)) for one in self.inputs]
        )
        stale = sum(one.stale_rows.get(name, 0) for one in self.inputs)
        finished = [mark["sidecars"][name] for mark in done]
        parts = {"written": sum(told["rows"] for told in finished)}
        parts |= self._others(parts["written"], rows)
        parts |= {"of no such sample or caption": stale}
        line = f"{name}: {conserved(int(rows.sum()) + stale, parts, 'rows')}"
        lacking = sum(name not in one.sidecars for one in self.inputs)
        if lacking:
            samples = sum(told["samples"] for told in finished)
            total = sum(mark["successes"] for mark in done)
            line += (
                f"; {lacking:,} of {len(self.inputs):,} inputs have none: no row for "
                f"{total - samples:,} of {total:,} samples"
            )
        print(line)
        if any("references" in told for told in finished):
            kept = sum(told["references"] for told in finished)
            gone = sum(told["references_dropped"] for told in finished)
            print(f"  {kept:,} references name the new shards; {gone:,} to dropped samples removed")

    def _parts(self, written: str, values: Places) -> dict[str, int]:
        """Values of samples, summed by what became of them: as the marks say what is written."""
        parts = {"written": sum(mark[written] for mark in self.marks if mark is not None)}
        return parts | self._others(parts["written"], values)

    def _others(self, written: int, values: Places) -> dict[str, int]:
        reason = self.layout.reason
        parts: dict[str, int] = {}
        if any(mark is None for mark in self.marks):
            parts[_TO_COME] = int(values[reason < 0].sum()) - written
        for place, name in enumerate(self.layout.reasons):
            parts[f"dropped ({name})"] = int(values[reason == place].sum())
        return parts


def _named(names: Sequence[str], opening: str = ": ") -> str:
    if not names:
        return ""
    closing = ")" if opening.endswith("(") else ""
    return f"{opening}{', '.join(names[:_NAMED])}{_more(names[_NAMED - 1 :])}{closing}"


def _more(names: Sequence[object]) -> str:
    return ", ..." if len(names) > 1 else ""
