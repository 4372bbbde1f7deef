"""open_clip towers behind one forward contract."""

from vlp.model.build import ModelConfig, build_model
from vlp.model.towers import DualEncoder

__all__ = ["DualEncoder", "ModelConfig", "build_model"]
