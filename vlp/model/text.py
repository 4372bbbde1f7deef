"""Cutting a batch of captions at its longest: exact for causal towers that pool the end token.

In a causal tower a position sees only what stands before it, so what follows the pooled end token
changes nothing. open_clip's CLIP text tower refuses short sequences, hence `encode_trimmed`.
Towers that attend to padding, pool the last position or append a class token change their answer
when cut: for them there is no `Trimmer`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from open_clip.model import CLIP
from open_clip.transformer import TextTransformer, text_global_pool
from torch import Tensor, nn


@dataclass(frozen=True)
class Trimmer:
    """Cuts token batches behind the last end token that is pooled. Picklable, for loader workers.

    Args:
        pool: open_clip's pool type, "argmax" (the highest id ends a caption) or "eos".
        eos_id: the id that ends a caption when `pool` is "eos".
        multiple: lengths are rounded up to this, so that compiled towers see few shapes.
    """

    pool: str
    eos_id: int
    multiple: int = 8

    def lengths(self, tokens: Tensor) -> Tensor:
        """Tokens [B, L] up to and including the pooled one, [B]."""
        end = tokens if self.pool == "argmax" else (tokens == self.eos_id).int()
        return end.argmax(dim=-1) + 1

    def __call__(self, tokens: Tensor) -> Tensor:
        """[B, L] -> [B, L'], L' <= L."""
        longest = int(self.lengths(tokens).max())
        rounded = -(-longest // self.multiple) * self.multiple
        return tokens[:, : min(rounded, tokens.shape[1])]


def trimmer_of(clip: nn.Module, multiple: int = 8) -> Trimmer | None:
    """The trimmer of an open_clip model, or None if trimming would change its features."""
    if isinstance(clip, CLIP):
        pool, eos_id, mask = clip.text_pool_type, clip.text_eos_id, clip.attn_mask
    elif isinstance(text := getattr(clip, "text", None), TextTransformer):
        if text.cls_emb is not None or text.use_pad_mask:
            return None
        pool, eos_id, mask = text.pool_type, text.eos_id, text.attn_mask
    else:
        return None
    if mask is None or pool not in ("argmax", "eos"):
        return None
    return Trimmer(pool, int(eos_id), multiple)


def encode_trimmed(clip: nn.Module, tokens: Tensor, trimmer: Trimmer) -> tuple[Tensor, Tensor]:
    """Text features [B, D], not normalised, and states [B, L', width] of tokens [B, L'].

    The parts of both open_clip classes, run on the first L' <= context length positions. The state
    of a position depends on the tokens up to it alone.
    """
    text: Any = text_part(clip)
    length = tokens.shape[1]
    dtype = text.transformer.get_cast_dtype()
    x = text.token_embedding(tokens).to(dtype)  # [B, L', width]
    x = x + text.positional_embedding[:length].to(dtype)
    x = text.transformer(x, attn_mask=text.attn_mask[:length, :length])
    x = text.ln_final(x)
    pooled: Tensor = text_global_pool(x, tokens, trimmer.pool, eos_token_id=trimmer.eos_id)
    projection = text.text_projection
    if projection is None:
        return pooled, x
    if isinstance(projection, nn.Linear):
        projected: Tensor = projection(pooled)
        return projected, x
    return pooled @ torch.as_tensor(projection), x


def text_part(clip: nn.Module) -> nn.Module:
    """The text tower: open_clip's CLIP has its parts on itself, its other classes as `text`."""
    part = clip if isinstance(clip, CLIP) else clip.text
    assert isinstance(part, nn.Module)
    return part
