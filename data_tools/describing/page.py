"""The numbers as a page: histograms, tables and some of the samples."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

from data_tools.describing.summary import Summary
from data_tools.samples import read_samples
from vlp.data.images import UnreadableImageError, decode
from vlp.data.source import RawSample, UnusableSampleError
from vlp.page import picture_uri, render
from vlp.page.charts import COLORS, figure, short_number, svg

# measure -> (title, whether its axis is logarithmic)
_CHARTS = {
    "short_side": ("short side, pixels", True),
    "megapixels": ("megapixels", True),
    "aspect": ("aspect, long side to short", False),
    "picture_bytes": ("bytes of a picture", True),
    "characters": ("characters of a caption", False),
    "words": ("words of a caption", False),
    "captions": ("captions of a picture", False),
}
_TABLES = ("formats", "modes", "members", "scripts", "problems")
_BINS = 40


def page(found: Summary) -> str:
    """A self-contained page."""
    numbers = found.numbers
    return render(
        Path(__file__).with_name("stats.html.j2"),
        name="statistics",
        numbers=numbers,
        charts=[chart for name in _CHARTS if (chart := _histogram(found, name))],
        tables={name: numbers[name] for name in _TABLES if numbers[name]},
        samples=list(_samples(found)),
    )


def _histogram(found: Summary, name: str) -> str | None:
    title, is_log = _CHARTS[name]
    values = found.values[name]
    if not len(values) or values.min() == values.max():
        return None  # the table says it all
    low, high = float(values.min()), float(values.max())
    is_log = is_log and low > 0 and high / low > 4
    if is_log:
        edges = np.geomspace(low, high, _BINS + 1)
    else:
        # whole numbers get whole bins, else some of them would hold two and others one
        whole = bool((values == values.round()).all())
        step = max(1.0, np.ceil((high - low + 1) / _BINS)) if whole else (high - low) / _BINS
        edges = np.arange(low - 0.5 if whole else low, high + step, step)
    with figure(4.3, 2.3) as drawn:
        axes = drawn.subplots()
        axes.hist(values, bins=edges.tolist(), color=COLORS[0])
        axes.set_title(title)
        axes.set_ylabel("samples")
        if is_log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(short_number))
        return svg(drawn)


def _samples(found: Summary) -> Iterator[dict[str, Any]]:
    wanted = {(shard, key) for shard, key in found.shown}
    for shard in dict.fromkeys(shard for shard, _ in found.shown):
        for sample in read_samples(shard):
            if (shard, sample.key) in wanted:
                yield {"key": sample.key, "shard": shard.name} | _shown(sample)


def _shown(sample: RawSample) -> dict[str, Any]:
    try:
        captions = sample.captions()
    except UnusableSampleError as error:
        captions = [str(error)]
    try:
        data = sample.image
        with Image.open(io.BytesIO(data)) as image:
            size = f"{image.width} x {image.height} {image.format}"
        return {"picture": picture_uri(decode(data).image, 240), "size": size, "captions": captions}
    except (UnreadableImageError, UnusableSampleError, OSError) as error:
        return {"picture": None, "size": str(error), "captions": captions}
