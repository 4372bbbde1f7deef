"""Signals of a made global batch in float64, for objectives on one process."""

import torch
import torch.nn.functional as F


def unit(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def batch(rows=5, width=4, seed=0, scale=3.0, **more):
    """What most objectives need; `more` is added."""
    image, text = unit(rows, width, seed=seed), unit(rows, width, seed=seed + 1000)
    return {
        "image": image,
        "text": text,
        "all_image": image,
        "all_text": text,
        "targets": torch.arange(rows),
        "scale": torch.tensor(scale, dtype=torch.float64),
        "bias": torch.tensor(-1.5, dtype=torch.float64),
        **more,
    }


def view(signals, ranks, rank):
    """The same batch as one of several ranks sees it."""
    rows = len(signals["image"]) // ranks
    own = slice(rank * rows, (rank + 1) * rows)
    single = {
        name: value[own]
        for name, value in signals.items()
        if not name.startswith("all_") and value.ndim
    }
    return {**signals, **single}
