"""Training objectives, one file each. Recipes name them by this path: `vlp.objectives.InfoNCE`."""

from vlp.objectives.base import Objective
from vlp.objectives.infonce import InfoNCE

__all__ = ["InfoNCE", "Objective"]
