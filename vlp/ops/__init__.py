"""Contrastive losses that never hold the matrix of all logits."""

from vlp.ops.contrastive import contrastive_loss, sharded_contrastive_loss
from vlp.ops.sigmoid import sigmoid_loss

__all__ = ["contrastive_loss", "sharded_contrastive_loss", "sigmoid_loss"]
