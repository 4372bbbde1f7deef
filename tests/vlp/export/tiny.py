"""Tiny models of every kind that open_clip has, as folders in its own format."""

import copy
import json
from functools import cache

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
CLIP = {"embed_dim": 16, "quick_gelu": False, "vision_cfg": VIT, "text_cfg": TEXT}
PREPROCESSING = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
SQUASHED = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
POOLED = {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
COCA = {
    "embed_dim": 16,
    "custom_text": True,
    "vision_cfg": {**VIT, **POOLED},
    "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
}
CONVOLUTIONAL = {"timm_model_name": "test_byobnet", "timm_pool": "avg", "timm_proj": "linear"}
SIGLIP_TOWER = {"timm_model_name": "tiny_siglip", "timm_pool": "map", "timm_proj": "none"}
SIGLIP_TEXT = {
    **TEXT,
    "context_length": 12,
    "vocab_size": 30,
    "hf_tokenizer_name": "words",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
SIGLIP = {
    "embed_dim": 32,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, **SIGLIP_TOWER},
    "text_cfg": SIGLIP_TEXT,
}
WORDS = "a photo of two dogs red circle on the left café it s 10 o clock".split()  # noqa: SIM905
TEXTS = ["a photo of a dog", "Two RED circles, on the left!", "", "café & co", "a dog " * 40]


def changed(config, **parts):
    """A configuration with some entries replaced; `vision` and `text` go into their parts."""
    found = copy.deepcopy(config)
    found["vision_cfg"] |= parts.pop("vision", {})
    found["text_cfg"] |= parts.pop("text", {})
    return found | parts


def write_model(folder, config=CLIP, preprocessing=PREPROCESSING, seed=0, pad="</s>"):
    """A model with random weights, all of them away from what they begin with."""
    register_towers()
    folder.mkdir(parents=True)
    content = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    if "hf_tokenizer_name" in config["text_cfg"]:
        write_words(folder, pad)
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    perturb(model)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


@torch.no_grad()
def perturb(model):
    """Move all weights away from what they begin with: zeros hide what is lost."""
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)


def write_words(folder, pad="</s>"):
    """A tokenizer of words that ends a text as SigLIP's does."""
    vocab = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    names = {"eos_token": "</s>", "pad_token": pad, "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **names).save_pretrained(folder)


@cache
def register_towers():
    """timm's kind of SigLIP tower in sizes for tests, and neighbours that are none."""
    _register("tiny_siglip")
    _register("tiny_siglip_tanh", act_layer="gelu_tanh", init_values=0.3)
    _register("tiny_siglip_class_token", class_token=True)
    _register("tiny_siglip_qk_norm", qk_norm=True)
    _register("tiny_siglip_rms_norm", norm_layer="rmsnorm")


def _register(name, **options):
    base = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    base |= {"mlp_ratio": 2, "class_token": False, "global_pool": "map"}

    def build(
        pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **more
    ):
        tower = VisionTransformer(**{**base, **options, **more})
        tower.default_cfg = {"architecture": name}
        return tower

    build.__name__, build.__module__ = name, __name__
    register_model(build)


def pictures(*sizes):
    """Noise on smooth colours, one of each (width, height)."""
    rng = np.random.default_rng(1)
    found = []
    for width, height in sizes:
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.BICUBIC), dtype=int)
        noisy = smooth + rng.integers(-30, 30, smooth.shape)
        found.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return found


@torch.no_grad()
def open_clip_features(folder, images, texts):
    """(images, texts), unit norm, by open_clip itself."""
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    image = model.encode_image(torch.stack([prepare(own) for own in images]))
    text = model.encode_text(tokenizer(texts))
    return F.normalize(image, dim=-1), F.normalize(text, dim=-1)
