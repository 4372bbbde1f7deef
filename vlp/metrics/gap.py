"""The first numbers of `vlp.metrics.geometry`, for callers that want no others."""

from torch import Tensor

from vlp.metrics.geometry import geometry_metrics

_NAMES = (
    "centroid_distance",
    "centroid_cosine",
    "linear_separability",
    "uniformity",
    "cross_uniformity",
    "alignment",
    "image_effective_rank",
    "text_effective_rank",
)


def gap_metrics(image: Tensor, text: Tensor, *, seed: int = 0) -> dict[str, float]:
    """Eight of `geometry_metrics`; the same arguments and errors."""
    found = geometry_metrics(image, text, seed=seed)
    return {name: found[name] for name in _NAMES}
