"""open_clip's SigLIP models, timm's image tower and open_clip's text tower, as SiglipModel.

Zhai et al. 2023; SigLIP 2 of fixed resolution (Tschannen et al. 2025) has the same towers. Layer
scale and a text tower without projection are handled as for CLIP.
"""

from typing import Any

import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import TextTransformer
from timm.layers.attention import Attention
from timm.layers.attention_pool import AttentionPoolLatent
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from transformers import SiglipConfig

from vlp.encoder import Encoder
from vlp.export.clip_model import block_obstacles, text_config, text_state, tower_name
from vlp.export.tensors import Renaming, activation, epsilon, one_of, open_clip_blocks
from vlp.model.towers import DualEncoder


def siglip_obstacles(model: DualEncoder) -> list[str]:
    """What of a model SiglipModel cannot express; empty if it can be written."""
    text = getattr(model.clip, "text", None)
    if not isinstance(text, TextTransformer):
        return [*_of_image_tower(model.clip.visual), "text tower with causal attention"]
    return _of_image_tower(model.clip.visual) + _of_text_tower(text)


def _of_image_tower(visual: nn.Module) -> list[str]:
    trunk = visual.trunk if isinstance(visual, TimmModel) else None
    if not isinstance(trunk, VisionTransformer):
        return [f"image tower {tower_name(visual)}"]
    pool = trunk.attn_pool
    if not isinstance(pool, AttentionPoolLatent):
        return [f"image tower {tower_name(visual)}: timm_pool {trunk.global_pool!r} (it has 'map')"]
    patches = trunk.patch_embed
    unusual = {
        "class or register tokens": trunk.num_prefix_tokens > 0,
        "no position embeddings": trunk.pos_embed is None,
        "a projection behind the pooling (timm_proj)": len(list(visual.parameters()))
        != len(list(trunk.parameters())),
        "a head behind the pooling": not isinstance(trunk.head, nn.Identity),
        "a norm of patches": not isinstance(patches.norm, nn.Identity),
        "a norm before the blocks": not isinstance(trunk.norm_pre, nn.Identity),
        "no norm behind the blocks": not isinstance(trunk.norm, nn.LayerNorm),
        "a norm behind the pooling": not isinstance(trunk.fc_norm, nn.Identity),
        "images that are not square": patches.img_size[0] != patches.img_size[1],
        "patches that are not square": patches.patch_size[0] != patches.patch_size[1],
        "blocks of another kind": not all(_is_plain(block) for block in trunk.blocks),
        "pooling of another kind": not _is_plain_pool(pool),
    }
    return [f"image tower {tower_name(visual)}: {name}" for name, there in unusual.items() if there]


def _is_plain(block: Any) -> bool:  # noqa: ANN401
    attention, mlp = block.attn, block.mlp
    return (
        type(block) is Block
        and type(attention) is Attention
        and attention.qkv.bias is not None
        and attention.attn_dim == attention.qkv.in_features
        and all(isinstance(m, nn.Identity) for m in (attention.q_norm, attention.k_norm))
        and isinstance(block.norm1, nn.LayerNorm)
        and _is_plain_mlp(mlp)
    )


def _is_plain_mlp(mlp: Any) -> bool:  # noqa: ANN401
    return (
        type(mlp) is Mlp
        and isinstance(mlp.fc1, nn.Linear)
        and isinstance(mlp.norm, nn.Identity)
        and activation(mlp.act) is not None
    )


def _is_plain_pool(pool: Any) -> bool:  # noqa: ANN401
    return (
        pool.latent_len == 1
        and pool.pool == "token"
        and pool.pos_embed is None
        and isinstance(pool.q, nn.Linear)
        and pool.q.bias is not None
        and isinstance(pool.norm, nn.LayerNorm)
        and all(isinstance(m, nn.Identity) for m in (pool.q_norm, pool.k_norm))
        and _is_plain_mlp(pool.mlp)
    )


def _of_text_tower(text: TextTransformer) -> list[str]:
    found = block_obstacles(text.transformer.resblocks, "text")
    if text.attn_mask is not None:
        found.append("text tower: causal attention")
    if text.cls_emb is not None:
        found.append("text tower: embed_cls")
    elif text.pool_type != "last":
        found.append(f"text tower: pool_type {text.pool_type!r} (it has 'last')")
    if text.use_pad_mask:
        found.append("text tower: use_pad_mask")
    return found


def to_siglip(encoder: Encoder, pad_id: int) -> tuple[SiglipConfig, dict[str, Tensor]]:
    """(configuration, state) of the SiglipModel; there are no obstacles.

    Raises:
        InputError: layers differ in what SiglipModel has one value for.
    """
    clip = encoder.model.clip
    trunk, text = clip.visual.trunk, clip.text
    found = _image_state(trunk) | _text_state(text_state(clip), text, encoder.width)
    found["logit_scale"] = clip.logit_scale.detach().float().reshape(1)
    bias = clip.logit_bias
    found["logit_bias"] = torch.zeros(1) if bias is None else bias.detach().float().reshape(1)
    config = SiglipConfig(
        vision_config=_vision_config(trunk),
        text_config={
            **text_config(text),
            "projection_size": encoder.width,
            "pad_token_id": pad_id,
            "bos_token_id": None,
            "eos_token_id": pad_id,
        },
    )
    return config, found


def _image_state(trunk: Any) -> dict[str, Tensor]:  # noqa: ANN401
    own = Renaming({name: value.float() for name, value in trunk.state_dict().items()})
    to = "vision_model.embeddings"
    own.move("pos_embed", f"{to}.position_embedding.weight", lambda value: value[0])
    own.layer("patch_embed.proj", f"{to}.patch_embedding")
    for index in range(len(trunk.blocks)):
        old, new = f"blocks.{index}", f"vision_model.encoder.layers.{index}"
        own.layer(f"{old}.norm1", f"{new}.layer_norm1")
        own.layer(f"{old}.norm2", f"{new}.layer_norm2")
        joint = (f"{old}.attn.qkv.weight", f"{old}.attn.qkv.bias")
        own.split(joint, [f"{new}.self_attn.{name}_proj" for name in "qkv"])
        own.layer(f"{old}.attn.proj", f"{new}.self_attn.out_proj", f"{old}.ls1.gamma")
        own.layer(f"{old}.mlp.fc1", f"{new}.mlp.fc1")
        own.layer(f"{old}.mlp.fc2", f"{new}.mlp.fc2", f"{old}.ls2.gamma")
    own.layer("norm", "vision_model.post_layernorm")
    _pool_state(own)
    return own.finish("the image tower")


def _pool_state(own: Renaming) -> None:
    """timm keeps the query's projection apart from those of keys and values."""
    old, new = "attn_pool", "vision_model.head"
    own.move(f"{old}.latent", f"{new}.probe")
    for kind in ("weight", "bias"):
        parts = [own.take(f"{old}.{name}.{kind}") for name in ("q", "kv")]
        own.found[f"{new}.attention.in_proj_{kind}"] = torch.cat(parts)
    own.layer(f"{old}.proj", f"{new}.attention.out_proj")
    own.layer(f"{old}.norm", f"{new}.layernorm")
    own.layer(f"{old}.mlp.fc1", f"{new}.mlp.fc1")
    own.layer(f"{old}.mlp.fc2", f"{new}.mlp.fc2")


def _text_state(
    state: dict[str, Tensor],
    text: Any,  # noqa: ANN401
    width: int,
) -> dict[str, Tensor]:
    own = Renaming(state)
    own.move("token_embedding.weight", "text_model.embeddings.token_embedding.weight")
    own.move("positional_embedding", "text_model.embeddings.position_embedding.weight")
    open_clip_blocks(own, len(text.transformer.resblocks), "text_model")
    own.layer("ln_final", "text_model.final_layer_norm")
    if isinstance(text.text_projection, nn.Linear):
        own.layer("text_projection", "text_model.head")
    else:
        bare = text.text_projection is None
        weight = torch.eye(width) if bare else own.take("text_projection").t()
        own.found |= {"text_model.head.weight": weight, "text_model.head.bias": torch.zeros(width)}
    return own.finish("the text tower")


def _vision_config(trunk: Any) -> dict[str, Any]:  # noqa: ANN401
    blocks, pool = trunk.blocks, trunk.attn_pool
    mlps = [*(block.mlp for block in blocks), pool.mlp]
    heads = [*(block.attn.num_heads for block in blocks), pool.num_heads]
    return {
        "hidden_size": trunk.embed_dim,
        "intermediate_size": one_of((m.fc1.out_features for m in mlps), "image tower: MLP"),
        "num_hidden_layers": len(blocks),
        "num_attention_heads": one_of(heads, "image tower: heads"),
        "hidden_act": one_of((activation(m.act) for m in mlps), "image tower: activation"),
        "layer_norm_eps": epsilon(trunk, "image tower"),
        "image_size": trunk.patch_embed.img_size[0],
        "patch_size": trunk.patch_embed.patch_size[0],
    }
