"""Training objectives, one file each. Recipes name them by this path: `vlp.objectives.InfoNCE`."""

from vlp.objectives.alignment import Alignment
from vlp.objectives.base import Facts, Objective
from vlp.objectives.captioning import Captioning
from vlp.objectives.counting import Counting
from vlp.objectives.cwcl import CWCL
from vlp.objectives.dcl import DCL
from vlp.objectives.distillation import Distillation, Terms
from vlp.objectives.infonce import InfoNCE, Variant
from vlp.objectives.mixing import Mixing
from vlp.objectives.sigmoid import Sigmoid
from vlp.objectives.sogclr import Individual, SogCLR
from vlp.objectives.uniformity import CrossUniformity, Uniformity

__all__ = [
    "CWCL",
    "DCL",
    "Alignment",
    "Captioning",
    "Counting",
    "CrossUniformity",
    "Distillation",
    "Facts",
    "Individual",
    "InfoNCE",
    "Mixing",
    "Objective",
    "Sigmoid",
    "SogCLR",
    "Terms",
    "Uniformity",
    "Variant",
]
