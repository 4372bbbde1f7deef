"""open_clip's vision and text transformers as the CLIPModel of transformers.

Both follow Radford et al. 2021. open_clip has options that CLIPModel has not: they are refused by
name. Layer scale is multiplied into the weights behind it, a text tower without projection gets the
identity; both change nothing.
"""

from typing import Any

import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from transformers import CLIPConfig

from vlp.encoder import Encoder
from vlp.export.tensors import Renaming, activation, epsilon, one_of, open_clip_blocks
from vlp.model.text import text_part
from vlp.model.towers import DualEncoder

_LEGACY_END = 2  # with it transformers pools the highest id


def clip_obstacles(model: DualEncoder, end_id: int | None, highest_id: int) -> list[str]:
    """What of a model CLIPModel cannot express; empty if it can be written.

    Args:
        model: towers of open_clip.
        end_id: what its tokenizer ends a text with; None if that is the padding.
        highest_id: of its tokenizer.
    """
    found = _of_image_tower(model.clip.visual)
    text: Any = text_part(model.clip)
    if not hasattr(text, "token_embedding"):
        return [*found, f"text tower {type(text).__name__}"]
    return found + _of_text_tower(text, end_id, highest_id)


def tower_name(visual: nn.Module) -> str:
    """An image tower as people know it."""
    if not isinstance(visual, TimmModel):
        return type(visual).__name__
    trunk: Any = visual.trunk
    return f"timm's {trunk.default_cfg.get('architecture') or type(trunk).__name__}"


def block_obstacles(blocks: Any, tower: str) -> list[str]:  # noqa: ANN401 (a list of modules)
    """What is unusual in the transformer of a tower."""
    if not all(type(block) is ResidualAttentionBlock for block in blocks):
        return [f"{tower} tower: attention blocks of another kind (block_type, qk_norm, scale_...)"]
    if any(activation(block.mlp.gelu) is None for block in blocks):
        return [f"{tower} tower: activation {type(blocks[0].mlp.gelu).__name__}"]
    return []


def _of_image_tower(visual: nn.Module) -> list[str]:
    if not isinstance(visual, VisionTransformer):
        return [f"image tower {tower_name(visual)}"]
    found = block_obstacles(visual.transformer.resblocks, "image")
    if visual.image_size[0] != visual.image_size[1]:
        found.append(f"image_size {list(visual.image_size)}: not square")
    if visual.patch_size[0] != visual.patch_size[1]:
        found.append(f"patch_size {list(visual.patch_size)}: not square")
    if isinstance(visual.ln_pre, nn.Identity):
        found.append("image tower: no_ln_pre")
    if visual.attn_pool is not None:
        found.append("image tower: attentional_pool")
    elif visual.pool_type != "tok":
        found.append(f"image tower: pool_type {visual.pool_type!r} (it has 'tok')")
    return found


def _of_text_tower(text: Any, end_id: int | None, highest_id: int) -> list[str]:  # noqa: ANN401
    found = block_obstacles(text.transformer.resblocks, "text")
    pool = getattr(text, "text_pool_type", None) or text.pool_type
    if text.attn_mask is None:
        found.append("text tower: no_causal_mask")
    if getattr(text, "cls_emb", None) is not None:
        found.append("text tower: embed_cls")
    if getattr(text, "use_pad_mask", False):
        found.append("text tower: use_pad_mask")
    if isinstance(text.text_projection, nn.Linear) and text.text_projection.bias is not None:
        found.append("text tower: proj_bias")
    if pool not in ("argmax", "eos"):
        found.append(f"text tower: pool_type {pool!r} (it has 'argmax' and 'eos')")
    elif end_id is None:
        found.append(f"text tower: pool_type {pool!r}, but texts end with the padding alone")
    elif pool == "argmax" and end_id != highest_id:
        found.append("text tower: pool_type 'argmax', but the end token is not the highest id")
    elif pool == "eos" and end_id != _end_of(text):
        found.append(f"text tower: eos_id {_end_of(text)}, but the tokenizer ends with {end_id}")
    elif end_id == _LEGACY_END:
        found.append(f"text tower: end token {_LEGACY_END}, which it takes for the highest id")
    return found


def _end_of(text: Any) -> int:  # noqa: ANN401
    end = getattr(text, "text_eos_id", None)
    return int(text.eos_id if end is None else end)


def to_clip(encoder: Encoder, end_id: int) -> tuple[CLIPConfig, dict[str, Tensor]]:
    """(configuration, state) of the CLIPModel; there are no obstacles.

    Raises:
        InputError: layers differ in what CLIPModel has one value for.
    """
    clip = encoder.model.clip
    state = {name: value.float() for name, value in clip.state_dict().items()}
    image = {n.removeprefix("visual."): v for n, v in state.items() if n.startswith("visual.")}
    found = _image_state(image, len(clip.visual.transformer.resblocks))
    found |= _text_state(text_state(clip), text_part(clip), encoder.width)
    found["logit_scale"] = state["logit_scale"].reshape(())
    return _config(encoder, end_id), found


def text_state(clip: nn.Module) -> dict[str, Tensor]:
    """The weights of the text tower alone."""
    apart = ("visual.", "logit_scale", "logit_bias")
    state = clip.state_dict().items()
    return {n.removeprefix("text."): v.float() for n, v in state if not n.startswith(apart)}


def _image_state(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    own = Renaming(state)
    own.move("class_embedding", "vision_model.embeddings.class_embedding")
    own.move("conv1.weight", "vision_model.embeddings.patch_embedding.weight")
    own.move("positional_embedding", "vision_model.embeddings.position_embedding.weight")
    own.layer("ln_pre", "vision_model.pre_layrnorm")
    open_clip_blocks(own, layers, "vision_model")
    own.layer("ln_post", "vision_model.post_layernorm")
    own.move("proj", "visual_projection.weight", torch.t)
    return own.finish("the image tower")


def _text_state(state: dict[str, Tensor], text: Any, width: int) -> dict[str, Tensor]:  # noqa: ANN401
    own = Renaming(state)
    own.move("token_embedding.weight", "text_model.embeddings.token_embedding.weight")
    own.move("positional_embedding", "text_model.embeddings.position_embedding.weight")
    open_clip_blocks(own, len(text.transformer.resblocks), "text_model")
    own.layer("ln_final", "text_model.final_layer_norm")
    if text.text_projection is None:
        own.found["text_projection.weight"] = torch.eye(width)
    elif isinstance(text.text_projection, nn.Linear):
        own.move("text_projection.weight", "text_projection.weight")
    else:
        own.move("text_projection", "text_projection.weight", torch.t)
    return own.finish("the text tower")


def transformer_config(blocks: Any, tower: nn.Module, what: str) -> dict[str, Any]:  # noqa: ANN401
    """Of a tower's configuration what its blocks say."""
    return {
        "hidden_size": one_of((b.mlp.c_fc.in_features for b in blocks), f"{what}: width"),
        "intermediate_size": one_of((b.mlp.c_fc.out_features for b in blocks), f"{what}: MLP"),
        "num_hidden_layers": len(blocks),
        "num_attention_heads": one_of((b.attn.num_heads for b in blocks), f"{what}: heads"),
        "hidden_act": one_of((activation(b.mlp.gelu) for b in blocks), f"{what}: activation"),
        "layer_norm_eps": epsilon(tower, what),
    }


def text_config(text: Any) -> dict[str, Any]:  # noqa: ANN401 (one of two classes of open_clip)
    """Of a text tower's configuration what its layers say."""
    # open_clip's CLIP has the layers of its text tower beside its image tower
    layers = nn.ModuleList([text.transformer, text.ln_final])
    return {
        **transformer_config(text.transformer.resblocks, layers, "text tower"),
        "vocab_size": len(text.token_embedding.weight),
        "max_position_embeddings": len(text.positional_embedding),
    }


def _config(encoder: Encoder, end_id: int) -> CLIPConfig:
    visual: Any = encoder.model.clip.visual
    text: Any = text_part(encoder.model.clip)
    return CLIPConfig(
        projection_dim=encoder.width,
        vision_config={
            **transformer_config(visual.transformer.resblocks, visual, "image tower"),
            "image_size": visual.image_size[0],
            "patch_size": visual.patch_size[0],
            "projection_dim": encoder.width,
        },
        text_config={
            **text_config(text),
            "projection_dim": encoder.width,
            "bos_token_id": encoder.tokenizer.start_id,
            "eos_token_id": end_id,
            "pad_token_id": end_id,
        },
    )
