"""Image-text dual encoders: towers, objectives, data, metrics, retrieval."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlp.encoder import Encoder, load

__all__ = ["Encoder", "load"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (an attribute may be anything)
    """Import what needs torch only when it is asked for: the data tools start without it."""
    if name in __all__:
        from vlp import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module 'vlp' has no attribute {name!r}")
