"""Encoding with a folder of Hugging Face's: CLIP, SigLIP, and SigLIP 2 of fixed resolution.

Towers and tokenizer are transformers' own, so the features are those of its pipeline. What differs
is what the models were trained with and the pipeline leaves to its caller:

| family | texts |
|---|---|
| CLIP | padded to the longest of the batch: exact, since the tower is causal and pools the end |
| SigLIP | padded to the context length without attention mask, and lower-cased |

Radford et al. 2021 (CLIP), Zhai et al. 2023 (SigLIP), Tschannen et al. 2025 (SigLIP 2).
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as logging_of_transformers

from vlp.encoder import BaseEncoder
from vlp.errors import InputError
from vlp.interop.huggingface_pictures import HuggingFacePreprocess, read_preprocess
from vlp.interop.state_dicts import read_pickle
from vlp.published import CONFIG_FILE as OPEN_CLIP_CONFIG
from vlp.published import WEIGHTS_FILE as OPEN_CLIP_WEIGHTS
from vlp.published import fingerprint

log = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLED_FILE = "pytorch_model.bin"
CLIP, SIGLIP = "clip", "siglip"
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
_LEGACY_EOS = 2  # in old CLIP configurations; with it transformers pools the highest id


def is_huggingface(folder: Path) -> bool:
    """Whether a folder holds a model of Hugging Face's; where open_clip's is beside it, that one
    is meant.
    """
    ours = all((folder / name).is_file() for name in (OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS))
    return (folder / CONFIG_FILE).is_file() and not ours


class HuggingFaceEncoder(BaseEncoder):
    """Encodes pictures and texts with the model of a Hugging Face folder.

    Args:
        folder: with `config.json`, `model.safetensors` (in one piece, or in shards with their
            index) or `pytorch_model.bin`, `preprocessor_config.json` and the files of a tokenizer.
            Nothing is downloaded, and no code of the folder is run.
        device: where the towers go.
        precision: "fp32", "bf16" or "fp16" (autocast); features are float32 in any case.

    Raises:
        InputError: another kind of model, or files that are missing, unreadable or do not fit.
    """

    preprocess: HuggingFacePreprocess

    def __init__(
        self, folder: Path, *, device: torch.device | str = "cpu", precision: str = "fp32"
    ) -> None:
        config = _read_config(folder)
        weights = weight_files(folder)
        tensors = {name: value for path in weights for name, value in _read(path).items()}
        super().__init__(
            read_preprocess(folder),
            fingerprint=fingerprint(tensors, config),
            precision=precision,
            path=str(folder),
        )
        del tensors
        self.family: str = config["model_type"]
        self.name = str(config.get("_name_or_path") or folder.resolve().name)
        self.model = _load_model(folder).to(device)
        self.tokenizer = _load_tokenizer(folder)
        _check_end(folder, self.tokenizer, self.model.config.text_config, self.family)
        trained = _square(self.model.config.vision_config.image_size)
        self._resized = self.preprocess.size != trained
        if self._resized:
            log.warning(
                "%s: its image processor gives pictures of %s pixels, but %s says image_size %s: "
                "position embeddings are interpolated",
                folder,
                self.preprocess.size,
                CONFIG_FILE,
                trained,
            )

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.logit_scale.device
        return device

    @property
    def image_size(self) -> tuple[int, int]:
        return self.preprocess.size

    @property
    def width(self) -> int:
        if self.family == CLIP:
            return int(self.model.config.projection_dim)
        return int(self.model.config.vision_config.hidden_size)

    @property
    def scale(self) -> Tensor:
        scale: Tensor = self.model.logit_scale.detach()
        return scale.float().exp().squeeze()

    @property
    def context_length(self) -> int:
        return int(self.model.config.text_config.max_position_embeddings)

    def compile(self) -> None:
        """Compile both towers in place."""
        self.model.vision_model.compile()
        self.model.text_model.compile()

    @property
    def description(self) -> dict[str, Any]:
        config = self.model.config
        image, text = config.vision_config.hidden_act, config.text_config.hidden_act
        return {
            "model": self.name,
            "pretrained": self.path,
            "path": self.path,
            "sha256": self.fingerprint,
            "act": image if image == text else f"image {image}, text {text}",
            "act_known": True,
        }

    @property
    def _pictures(self) -> dict[str, Any]:
        size = self.preprocess.size
        return {
            "image_size": size[0] if size[0] == size[1] else size,
            "interp": self.preprocess.interpolation,
            "resize_mode": "shortest" if self.preprocess.squash is None else "squash",
            "resize": self.preprocess.shortest or self.preprocess.squash,
            "mean": list(self.preprocess.mean),
            "std": list(self.preprocess.std),
            "lower_case": self.family == SIGLIP,
        }

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenize(texts, max_length=self.context_length)["input_ids"]
        return ids

    def _lengths(self, texts: list[str]) -> list[int]:
        if self.family == SIGLIP:  # every text is padded to the context length
            return [self.context_length] * len(texts)
        return [len(row) for row in self._ids(texts)]

    def _image_features(self, pixels: Tensor) -> Tensor:
        more = {"interpolate_pos_encoding": True} if self._resized else {}
        pixels = self.preprocess.normalise(pixels)
        return _unit(self.model.get_image_features(pixel_values=pixels, **more))

    def _tokens(self, texts: list[str]) -> Any:  # noqa: ANN401 (of transformers)
        padding = "max_length" if self.family == SIGLIP else "longest"
        return self._tokenize(
            texts, max_length=self.context_length, padding=padding, return_tensors="pt"
        )

    def _cut(self, texts: list[str], tokens: Any) -> int:  # noqa: ANN401 (of transformers)
        ids, pad = tokens["input_ids"], self.tokenizer.pad_token_id
        if ids.shape[1] < self.context_length:
            return 0
        # padding may be the end token, and then it may also stand last in a full row
        full = (ids[:, -1] != pad) | (ids[:, -2] != pad)
        asked = [text for text, is_full in zip(texts, full.tolist(), strict=True) if is_full]
        if not asked:
            return 0
        # one more than fits is enough to see what is cut
        longer = self._tokenize(asked, max_length=self.context_length + 1)["input_ids"]
        return sum(len(row) > self.context_length for row in longer)

    def _text_features(self, tokens: Any) -> Tensor:  # noqa: ANN401 (of transformers)
        names = ("input_ids",) if self.family == SIGLIP else ("input_ids", "attention_mask")
        given = {name: tokens[name].to(self.device) for name in names if name in tokens}
        return _unit(self.model.get_text_features(**given))

    def _tokenize(self, texts: list[str], **options: Any) -> Any:  # noqa: ANN401 (of transformers)
        if self.family == SIGLIP:
            texts = [text.lower() for text in texts]
        return self.tokenizer(texts, truncation=True, **options)


def _unit(found: Any) -> Tensor:  # noqa: ANN401 (transformers 4 gives a tensor, 5 an object)
    features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return F.normalize(features.float(), dim=-1)


def _square(size: Any) -> tuple[int, int]:  # noqa: ANN401 (a number or a pair)
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    config = _read_json(path)
    kind = config.get("model_type")
    if kind not in (CLIP, SIGLIP):
        raise InputError(
            f"{path}: model_type {kind!r}: choices are {CLIP} and {SIGLIP} (SigLIP 2 of fixed "
            "resolution included; siglip2 is NaFlex, whose pictures have no fixed size)"
        )
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object")
    return content


def weight_files(folder: Path) -> list[Path]:
    """The weights of a folder: safetensors, or where there are none its pickle.

    Raises:
        InputError: there are none, or a shard is missing.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if not (folder / INDEX_FILE).is_file():
        if (folder / PICKLED_FILE).is_file():
            return [folder / PICKLED_FILE]
        raise InputError(f"{folder} lacks {WEIGHTS_FILE}, {INDEX_FILE} or {PICKLED_FILE}")
    index = _read_json(folder / INDEX_FILE)
    shards = [folder / name for name in sorted(set(index.get("weight_map", {}).values()))]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing or not shards:
        raise InputError(f"{folder / INDEX_FILE}: missing {', '.join(missing) or 'shards'}")
    return shards


def _read(path: Path) -> dict[str, Tensor]:
    if path.name == PICKLED_FILE:
        return dict(read_pickle(path))
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return tensors


def _load_model(folder: Path) -> Any:  # noqa: ANN401 (transformers' models share no type)
    """Towers in float32, whatever the file holds.

    Raises:
        InputError: a tensor is missing or does not fit; transformers would draw it at random.
    """
    auto: Any = AutoModel
    safetensors = weight_files(folder)[0].name != PICKLED_FILE
    try:
        with _without_bars():
            model, found = auto.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=safetensors,  # pickles by torch.load(weights_only=True) alone
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (RuntimeError, ImportError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"{folder} cannot be loaded: {error}") from error
    if found["missing_keys"]:
        names = ", ".join(sorted(found["missing_keys"]))
        raise InputError(f"{folder}: its weights lack {names}")
    if found["unexpected_keys"]:
        names = ", ".join(sorted(found["unexpected_keys"]))
        log.warning("%s: %d tensors unused: %s", folder, len(found["unexpected_keys"]), names)
    return model.float().eval()


@contextmanager
def _without_bars() -> Iterator[None]:
    """transformers draws a bar for every model, also where it takes a moment."""
    bars: Any = logging_of_transformers
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _load_tokenizer(folder: Path) -> Any:  # noqa: ANN401 (transformers' tokenizers share no type)
    """The folder's own tokenizer.

    Raises:
        InputError: there is none, it cannot be read, or a package that it needs is not installed.
    """
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise InputError(f"{folder} lacks the files of a tokenizer: {', '.join(_TOKENIZER_FILES)}")
    auto: Any = AutoTokenizer
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        # Gemma's pads on the left where its file says nothing, and no tower was trained with that
        return auto.from_pretrained(str(folder), padding_side="right", **options)
    except (ImportError, KeyError, TypeError, AttributeError) as error:  # e.g. no sentencepiece
        reason = " ".join(str(error).split())
        raise InputError(f"{folder}: its tokenizer cannot be loaded: {reason}") from error


def _check_end(folder: Path, tokenizer: Any, text_config: Any, family: str) -> None:  # noqa: ANN401
    """The end token is what the towers read, CLIP's by its id.

    Raises:
        InputError: the tokenizer adds none, or not the one that the tower pools.
    """
    end = tokenizer.eos_token_id
    ids = tokenizer(["a"])["input_ids"][0]
    if end is None or ids[-1] != end:
        raise InputError(f"{folder}: its tokenizer does not end a text with its end token")
    if end >= text_config.vocab_size:
        raise InputError(
            f"{folder / CONFIG_FILE}: text_config.vocab_size {text_config.vocab_size}, "
            f"but its tokenizer ends a text with {end}"
        )
    if family == CLIP and text_config.eos_token_id not in (_LEGACY_EOS, end):
        raise InputError(
            f"{folder / CONFIG_FILE}: text_config.eos_token_id {text_config.eos_token_id}, "
            f"but its tokenizer ends a text with {end}"
        )
