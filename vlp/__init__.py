"""Image-text dual encoders: towers, objectives, data, metrics, retrieval."""

from vlp.encoder import Encoder, load

__all__ = ["Encoder", "load"]
