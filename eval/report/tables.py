"""The report's tables over several benchmarks: how embeddings lie, what shifts cost."""

from eval.metric_names import interval_text, label, shown
from eval.records import checkpoint_name, samples_seen, title_of
from eval.report.run_folder import Benchmark, RunFolder
from eval.stored_results import Result

GEOMETRY = "geometry"  # the task
_GAP = "gap_"
_SIDE_BY_SIDE = 6  # checkpoints in the table of geometry


def geometry_tables(run: RunFolder) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, header, cells): how embeddings lie, the checkpoints of a data set side by side."""
    found: dict[str, list[Result]] = {}
    for benchmark in run.benchmarks:
        if benchmark.task == GEOMETRY:
            own = _over_training(benchmark)
            found.setdefault(title_of(benchmark.last), []).extend(own)
    tables = []
    for title, results in found.items():
        records = [result.record for result in results[-_SIDE_BY_SIDE:]]
        left_out = len(results) - len(records)
        names = list(dict.fromkeys(name for record in records for name in record["metrics"]))
        cells = [
            [label(name), *(shown(name, record["metrics"].get(name)) for record in records)]
            for name in names
        ]
        title += f" (the last {len(records)} of {len(results)} checkpoints)" if left_out else ""
        tables.append((title, ["metric", *map(checkpoint_name, records)], cells))
    return tables


def robustness_table(run: RunFolder) -> tuple[list[str], list[list[str]]]:
    """(header, cells): what is lost from one data set to others with the same classes."""
    header = ["model", "from", "to", "accuracy before", "accuracy after", "gap", "95 % interval"]
    cells = []
    for benchmark in run.benchmarks:
        for result in benchmark.checkpoints:
            record = result.record
            metrics = record["metrics"]
            for name in (name for name in metrics if name.startswith(_GAP)):
                other = name.removeprefix(_GAP)
                before = metrics.get(f"reference_acc1_{other}", metrics.get("acc1"))
                where = [checkpoint_name(record), record["dataset"], other]
                values = [before, metrics.get(f"shifted_acc1_{other}")]
                shares = [shown("acc1", value) for value in values]
                cells.append(
                    [*where, *shares, shown(name, metrics[name]), interval_text(record, name)]
                )
    return header, cells


def _over_training(benchmark: Benchmark) -> list[Result]:
    """The newest result of each checkpoint, those of a training run as well."""
    newest = {(samples_seen(r.record), checkpoint_name(r.record)): r for r in benchmark.results}
    return list(newest.values())
