"""Models of random weights for `benchmarks/gpu_data.py`, in the folders that trained ones come in.

Their sizes are those of models in use on a GPU; on a CPU they only try the rows. Nothing is
downloaded.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedTokenizerFast,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
)
from transformers.utils.logging import disable_progress_bar

from vlp.checkpoint import publish
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer

_CHAT = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


def clip_model(folder: Path) -> Path:
    """A ViT-B/32 CLIP as training saves it."""
    folder.mkdir()
    model = build_model(ModelConfig(arch="ViT-B-32"))
    tokenizer = build_tokenizer(model.description.model_cfg)
    facts = {"weights": "last", "samples_seen": 0, "step": 0, "recipe": {}}
    publish(folder, model.clip.state_dict(), model.description, tokenizer, facts)
    return folder


def language_model(folder: Path, device: torch.device) -> Path:
    """A Llama of 1.2 billion parameters in bf16; on a CPU of two small layers in fp32.

    It has no end token, so each answer has as many tokens as it may.
    """
    on_gpu = device.type == "cuda"
    vocabulary = 128_256 if on_gpu else 2000
    width, layers, heads = (2048, 16, 32) if on_gpu else (64, 2, 4)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 4,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    with device:
        dtype = torch.bfloat16 if on_gpu else torch.float32
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    disable_progress_bar()  # type: ignore[no-untyped-call]  # rows alone are printed
    model.save_pretrained(folder)
    _word_tokenizer(vocabulary).save_pretrained(folder)
    return folder


def _word_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A token for each word, so that every token decodes to text and none to a line break."""
    words = ["<pad>", "<unk>", *(f"w{number}" for number in range(2, vocabulary))]
    numbers = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", chat_template=_CHAT
    )


def detector(folder: Path, device: torch.device) -> Path:
    """An RT-DETR of the default size (ResNet-50) with 80 classes; on a CPU a narrow one."""
    on_gpu = device.type == "cuda"
    size = 640 if on_gpu else 128  # of the square that pictures are resized to
    widths = [256, 512, 1024, 2048] if on_gpu else [8, 16, 32, 64]
    backbone = RTDetrResNetConfig(
        hidden_sizes=widths,
        depths=[3, 4, 6, 3] if on_gpu else [1] * 4,
        out_features=["stage2", "stage3", "stage4"],  # type: ignore[call-arg]
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=widths[1:],
        num_queries=300 if on_gpu else 50,
        decoder_layers=6 if on_gpu else 1,
        id2label={number: f"class {number}" for number in range(80)},
        label2id={f"class {number}": number for number in range(80)},
    )
    disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(0)  # as many boxes each time
    RTDetrForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
    return folder
