"""Image-text dual encoders: towers, objectives, data, metrics, retrieval."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlp.encoder import Encoder
    from vlp.loading import load
    from vlp.retrieval.retriever import Retriever

__all__ = ["Encoder", "Retriever", "load"]
_PLACES = (
    ("Encoder", "vlp.encoder"),
    ("Retriever", "vlp.retrieval.retriever"),
    ("load", "vlp.loading"),
)


def __getattr__(name: str) -> Any:  # noqa: ANN401 (an attribute may be anything)
    """Import what needs torch only when it is asked for: the data tools start without it."""
    if name in __all__:
        return getattr(import_module(dict(_PLACES)[name]), name)
    raise AttributeError(f"module 'vlp' has no attribute {name!r}")
