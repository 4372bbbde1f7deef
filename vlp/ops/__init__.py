"""Contrastive losses that never hold the matrix of all logits.

On a GPU `contrastive_loss` and `sharded_contrastive_loss` run as Triton kernels where Triton is
installed (3.3 or newer) and both features are of one dtype (float32, bfloat16 or float16) and of a
width that is a multiple of 16 up to 2,048. Elsewhere they run in plain torch, which a warning says
once. The environment variable VLP_TRITON=0 chooses plain torch everywhere.
"""

from vlp.ops.contrastive import contrastive_loss, sharded_contrastive_loss
from vlp.ops.sigmoid import sigmoid_loss

__all__ = ["contrastive_loss", "sharded_contrastive_loss", "sigmoid_loss"]
