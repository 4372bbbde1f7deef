"""What gives objectives more signals than the model alone provides."""

from vlp.sources.gather import Gather
from vlp.sources.momentum import Momentum
from vlp.sources.teacher import Teacher

__all__ = ["Gather", "Momentum", "Teacher"]
