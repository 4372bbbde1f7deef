"""Training objectives, one file each. Recipes name them by this path: `vlp.objectives.InfoNCE`."""

from vlp.objectives.alignment import Alignment
from vlp.objectives.base import Objective
from vlp.objectives.captioning import Captioning
from vlp.objectives.counting import Counting
from vlp.objectives.cwcl import CWCL
from vlp.objectives.dcl import DCL
from vlp.objectives.distillation import Distillation
from vlp.objectives.infonce import InfoNCE
from vlp.objectives.sigmoid import Sigmoid
from vlp.objectives.sogclr import SogCLR
from vlp.objectives.uniformity import CrossUniformity, Uniformity

__all__ = [
    "CWCL",
    "DCL",
    "Alignment",
    "Captioning",
    "Counting",
    "CrossUniformity",
    "Distillation",
    "InfoNCE",
    "Objective",
    "Sigmoid",
    "SogCLR",
    "Uniformity",
]
