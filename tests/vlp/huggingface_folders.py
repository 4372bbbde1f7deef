"""Tiny Hugging Face folders of CLIP and SigLIP, with tokenizers of a few words."""

import json

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast, SiglipConfig, SiglipModel

WORDS = [
    "a",
    "A",
    "photo",
    "of",
    "two",
    "dogs",
    "DOGS",
    "on",
    "the",
    "left",
    "right",
    "red",
    "circle",
]
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
VISION = {**TOWER, "num_hidden_layers": 2, "image_size": 24, "patch_size": 8}
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
PICTURES = {
    "clip": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 24},
        "crop_size": {"height": 24, "width": 24},
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "resample": 3,
    },
    "legacy": {  # as OpenAI's folders have it
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "size": 24,
        "crop_size": 24,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "resample": 3,
    },
    "siglip": {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": 24, "width": 24},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
    },
}


def clip_tokenizer(folder):
    """CLIP's own kind: letters, a merge, and the end token last."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!"
    pieces = [*letters, *(f"{c}</w>" for c in letters), "th", "the</w>"]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e</w>\n")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 16}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(pieces)


def siglip_tokenizer(folder):
    """Words, with capitals kept as SigLIP 2's tokenizer does, and ended by the padding's id."""
    vocab = {word: i for i, word in enumerate(["<unk>", "</s>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids"],
        model_max_length=10,
    ).save_pretrained(folder)
    return len(vocab)


def build_folder(folder, family, **saving):
    """A model of one family as transformers saves it, with features that differ from each other."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    if family == "siglip":
        text = {**TOWER, "num_hidden_layers": 2, "max_position_embeddings": 10}
        text |= {"vocab_size": siglip_tokenizer(folder)}
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
    else:
        size = clip_tokenizer(folder)
        ids = {"eos_token_id": 2 if family == "legacy" else size - 1, "bos_token_id": size - 2}
        text = {**TOWER, "num_hidden_layers": 2, "max_position_embeddings": 16, "projection_dim": 8}
        text |= {"vocab_size": size, "pad_token_id": size - 1, **ids}
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, **saving)
    (folder / "preprocessor_config.json").write_text(json.dumps(PICTURES[family]))
    return folder


FAMILIES = ("clip", "legacy", "siglip")
