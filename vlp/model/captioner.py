"""A captioning decoder: CoCa's own, or one of the same kind on a plain dual encoder.

Yu et al. 2022 (CoCa, arXiv 2205.01917): the text tower is the unimodal half of a
causal decoder; the multimodal half attends to the image tokens and scores the next token.
"""

from dataclasses import dataclass
from typing import Any

import torch
from open_clip.coca_model import CoCa
from open_clip.transformer import MultimodalTransformer, VisionTransformer
from torch import Tensor, nn

from vlp.model.text import text_part, trimmer_of


@dataclass(frozen=True, kw_only=True)
class CaptionerConfig:
    """A captioning decoder on a dual encoder that has none."""

    layers: int = 6
    heads: int = 8

    def __post_init__(self) -> None:
        for name in ("layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"model.captioner.{name} must be at least 1, got {getattr(self, name)}"
                )


class Captioner(nn.Module):
    """The multimodal half of a decoder on the tokens of both towers.

    Args:
        clip: an open_clip dual encoder; its image tower is made to give its tokens.
        config: size.

    Raises:
        ValueError: a tower gives no tokens, or its text states see later tokens.
    """

    def __init__(self, clip: nn.Module, config: CaptionerConfig) -> None:
        super().__init__()
        visual = clip.visual
        if not isinstance(visual, VisionTransformer):
            raise ValueError(
                f"model.captioner: the image tower {type(visual).__name__} gives no tokens to "
                "caption from; take an architecture with open_clip's own ViT, such as ViT-B-32"
            )
        if trimmer_of(clip) is None:
            raise ValueError(
                "model.captioner: the text tower is not causal, so its states know the tokens that "
                "the decoder shall predict; take a causal one"
            )
        visual.output_tokens = True
        text: Any = text_part(clip)
        width = int(text.token_embedding.embedding_dim)
        if width % config.heads:
            raise ValueError(
                f"model.captioner.heads {config.heads} does not divide the text width {width}"
            )
        self.from_image = nn.Linear(visual.ln_post.normalized_shape[0], width)
        self.decoder = MultimodalTransformer(
            width=width,
            layers=config.layers,
            heads=config.heads,
            context_length=int(text.positional_embedding.shape[0]),
            output_dim=int(text.token_embedding.num_embeddings),
        )
        initialise_projection(self.decoder)

    def forward(self, image_tokens: Tensor, states: Tensor) -> Tensor:
        """Image tokens [B, N, width'] and text states [B, L, width] -> logits [B, L, V]."""
        logits: Tensor = self.decoder(self.from_image(image_tokens), states)
        return logits


def initialise_projection(decoder: MultimodalTransformer) -> None:
    """Give the vocabulary projection its values: open_clip 3.3 leaves it as uninitialised memory.

    Its `init_parameters` is never called, and would fail.
    """
    with torch.no_grad():
        nn.init.normal_(decoder.text_projection, std=decoder.text_projection.shape[0] ** -0.5)


def has_own_decoder(clip: nn.Module) -> bool:
    """Whether an open_clip model is a CoCa."""
    return isinstance(clip, CoCa)
