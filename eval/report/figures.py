"""The report's charts, as SVG in data URIs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from eval import metric_names
from eval.report.run_folder import Benchmark
from vlp.page.charts import COLORS, short_number, svg
from vlp.page.charts import figure as draw

_POINTS = 400  # more would be lost between the pixels and only make the file larger
_NAMED_CLASSES = 40
WAYS = {"image_retrieval": "text → image", "text_retrieval": "image → text"}
_RECALLS = (1, 5, 10)
# (title or None for the data set's name, {metric: label}); a benchmark shows those that it has
PANELS: tuple[tuple[str | None, dict[str, str]], ...] = (
    *((title, {f"{way}_recall@{k}": f"R@{k}" for k in _RECALLS}) for way, title in WAYS.items()),
    (None, {"acc1": "accuracy", "acc5": "top-5 accuracy", "mean_per_class_recall": "per class"}),
    (None, {"count_acc": "count accuracy"}),
    (None, {"acc": "items solved", "pair_acc": "comparisons won"}),
    (None, {"bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "cider": "CIDEr"}),
    (
        "gap and uniformity",
        {
            "centroid_distance": "centroid distance",
            "alignment": "alignment",
            "uniformity": "uniformity",
            "cross_uniformity": "cross uniformity",
        },
    ),
    ("effective rank", {"image_effective_rank": "pictures", "text_effective_rank": "texts"}),
)


def training_curves(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Loss, gradient norm, scale, learning rate, throughput and waiting over the samples seen."""
    losses = sorted({name for step in steps for name in step if name.startswith("loss/")})
    # with one objective its loss is the total, and a second line would only hide the first
    names = {"loss": "total"} | {name: name.removeprefix("loss/") for name in losses}
    charts: list[tuple[str, dict[str, str], str]] = [
        ("loss", names if len(losses) > 1 else {"loss": "loss"}, "linear"),
        ("gradient norm", {"grad_norm": "gradient norm"}, "log"),
        ("scale (1 / temperature)", {"scale": "scale"}, "linear"),
        ("learning rate", {"lr": "learning rate"}, "linear"),
        ("pairs per second", {"pairs_per_second": "pairs per second"}, "linear"),
        ("share of time waiting for data", {"data_wait": "data wait"}, "linear"),
    ]
    figures = [_curve(steps, title, columns, scale) for title, columns, scale in charts]
    return [figure for figure in figures if figure]


def benchmark_curve(benchmark: Benchmark) -> str | None:
    """Metrics over training with their 95 % bands, and what guessing scores; None below 2 points.

    A band is drawn between the evaluations as well, where nothing was measured: points mark what
    was.
    """
    records = benchmark.over_training
    if len(records) < 2:
        return None
    dataset, metrics = benchmark.last["dataset"], benchmark.last["metrics"]
    panels = [
        (title or dataset, present)
        for title, names in PANELS
        if (present := {k: v for k, v in names.items() if k in metrics})
    ]
    main = metric_names.main_metric(benchmark.last)
    if main is None:
        return None
    panels = panels or [(dataset, {main: metric_names.label(main)})]
    with draw(8.6, 2.7) as figure:
        labels: dict[str, Artist] = {}
        lines = dict.fromkeys(label for _, names in panels for label in names.values())
        colors = dict(zip(lines, COLORS, strict=False))  # one legend for all panels
        for place, (title, names) in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), place + 1)
            _draw_metrics(axes, benchmark, names, colors)
            axes.set_title(title)
            handles = zip(*axes.get_legend_handles_labels(), strict=True)
            labels |= {label: handle for handle, label in handles}  # once each
        figure.legend(list(labels.values()), list(labels), loc="outside right center")
        return svg(figure)


def confusion(counts: NDArray[np.int64], names: Sequence[str]) -> str | None:
    """Rows are true classes, as shares of their samples; None above 40 classes."""
    classes = len(names)
    if classes > _NAMED_CLASSES:
        return None
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.2 + 0.36 * classes
    with draw(side + 0.6, side) as figure:
        axes = figure.add_subplot()
        axes.grid(False)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(classes), [_short(name) for name in names], rotation=55, ha="right")
        axes.set_yticks(range(classes), [_short(name) for name in names])
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if classes <= 16:
            for (row, column), share in np.ndenumerate(shares):
                color = "white" if share > 0.5 else "#334155"
                label = f"{share * 100:.0f}" if share >= 0.005 else ""
                axes.text(column, row, label, ha="center", va="center", color=color, fontsize=7)
        bar = figure.colorbar(image, ax=axes, shrink=0.7)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        return svg(figure)


def _curve(
    steps: Sequence[Mapping[str, Any]], title: str, columns: Mapping[str, str], scale: str
) -> str | None:
    with draw(4.3, 2.5) as figure:
        axes = figure.add_subplot()
        drawn, lowest = 0, np.inf
        for color, (column, label) in zip(COLORS * 9, columns.items(), strict=False):
            found = [(s["samples_seen"], s[column]) for s in steps if _is_number(s.get(column))]
            if not found:
                continue
            seen, values = np.array(found, dtype=np.float64).T
            x, mean, low, high = _thinned(seen, values)
            axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
            axes.plot(x, mean, color=color, linewidth=1.4, label=label)
            drawn, lowest = drawn + 1, min(lowest, values.min())
        if not drawn:
            return None
        if scale == "log" and lowest > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(short_number))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(title)
        axes.xaxis.set_major_formatter(FuncFormatter(short_number))
        axes.set_xlabel("samples seen")
        if drawn > 1:
            axes.legend()
        return svg(figure)


def _draw_metrics(
    axes: Axes, benchmark: Benchmark, names: Mapping[str, str], colors: Mapping[str, str]
) -> None:
    records = benchmark.over_training
    seen = [record["checkpoint"]["samples_seen"] for record in records]
    for name, label in names.items():
        color = colors[label]
        values = [_number(record["metrics"].get(name)) for record in records]
        bands = [record.get("ci95", {}).get(name) or (np.nan, np.nan) for record in records]
        low, high = np.array(bands, dtype=np.float64).T
        axes.fill_between(seen, low, high, color=color, alpha=0.15, linewidth=0)
        # dashed, as it lies on the accuracy where the classes are of one size
        line = "--" if name == "mean_per_class_recall" else "-"
        axes.plot(seen, values, line, color=color, marker="o", markersize=3, label=label)
        if name in benchmark.chance:
            axes.axhline(benchmark.chance[name], color=color, linestyle=":", linewidth=1.0)
    axes.set_xlim(left=0)
    axes.set_xlabel("samples seen")
    if benchmark.chance.keys() & names.keys():  # shares
        axes.plot([], [], color="#64748b", linestyle=":", linewidth=1.0, label="chance")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.xaxis.set_major_formatter(FuncFormatter(short_number))


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """(x, mean, lowest, highest) of at most `_POINTS` groups of neighbours."""
    groups = np.array_split(np.arange(len(x)), min(len(x), _POINTS))
    reductions = (x, np.mean), (y, np.mean), (y, np.min), (y, np.max)
    return tuple(np.array([reduce(values[g]) for g in groups]) for values, reduce in reductions)


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
