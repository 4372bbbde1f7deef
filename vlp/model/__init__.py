"""open_clip towers behind one forward contract."""

from vlp.model.build import ModelConfig, build_model
from vlp.model.captioner import CaptionerConfig
from vlp.model.towers import DualEncoder

__all__ = ["CaptionerConfig", "DualEncoder", "ModelConfig", "build_model"]
