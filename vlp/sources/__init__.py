"""What gives objectives more signals than the model alone provides."""

from vlp.sources.gather import Gather

__all__ = ["Gather"]
