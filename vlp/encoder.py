"""A trained model as its users meet it: pictures and strings in, unit vectors out."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor

from vlp.checkpoint import published_state, read_card
from vlp.data.transforms import Preprocess
from vlp.model.build import ModelConfig, build_model, says_activation
from vlp.model.generate import Generation, generate
from vlp.model.tokens import Tokenizer, build_tokenizer
from vlp.model.towers import DualEncoder
from vlp.published import CONFIG_FILE, find_published, fingerprint

_PROBE = ["A photo of two Dogs, 10 cats & the café's blue sign!", "naïve ünder 你好 👍 _x-y/z"]
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class BaseEncoder(ABC):
    """What all encoders share, wherever their towers come from.

    Args:
        preprocess: prepares a picture, -> [3, H, W] uint8; picklable.
        fingerprint: sha256 of weights and configuration.
        precision: "fp32", "bf16" or "fp16" (autocast); features are float32 in any case.
        path: where the weights came from.
    """

    def __init__(
        self,
        preprocess: Callable[[Image.Image], Tensor],
        *,
        fingerprint: str,
        precision: str,
        path: str | None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r}: choices are {', '.join(PRECISIONS)}")
        self.preprocess = preprocess
        self.fingerprint = fingerprint
        self.precision = precision
        self.path = path

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the towers are."""

    @property
    @abstractmethod
    def scale(self) -> Tensor:
        """The trained inverse temperature, []."""

    @property
    @abstractmethod
    def context_length(self) -> int:
        """The most tokens that a text can have, those of start and end included."""

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Which model this is."""

    @abstractmethod
    def truncated(self, texts: Sequence[str]) -> int:
        """How many of the texts are cut at the context length."""

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the tower reads of each text, [n]."""
        step = 10_000  # token ids of so many texts at a time
        parts = (list(texts[start : start + step]) for start in range(0, len(texts), step))
        return [length for part in parts for length in self._lengths(part)]

    @abstractmethod
    def _lengths(self, texts: list[str]) -> list[int]:
        """The same for some texts."""

    @property
    @abstractmethod
    def _pictures(self) -> dict[str, Any]:
        """Of the protocol what is done to a picture."""

    @abstractmethod
    def _ids(self, texts: list[str]) -> list[list[int]]:
        """The tokens of each text."""

    @abstractmethod
    def _image_features(self, pixels: Tensor) -> Tensor:
        """[n, 3, H, W] uint8 on the device -> [n, D], unit norm."""

    @abstractmethod
    def _text_features(self, texts: list[str]) -> Tensor:
        """Texts -> [n, D], unit norm."""

    @torch.inference_mode()
    def encode_image(self, images: Sequence[Image.Image] | Tensor) -> Tensor:
        """Pictures, or [n, 3, H, W] uint8 as `preprocess` gives them -> [n, D], unit norm."""
        with self._autocast():
            return self._image_features(self._pixels(images))

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> [n, D], unit norm; what is longer than the context length is cut."""
        if isinstance(texts, str):
            raise TypeError("encode_text takes a list of strings, not one string")
        with self._autocast():
            return self._text_features(list(texts))

    @property
    def protocol(self) -> dict[str, Any]:
        """What decides the features besides the weights."""
        return {
            **self._pictures,
            "context_length": self.context_length,
            "tokenizer_sha": self._tokenizer_sha,
            "precision": self.precision,
            "normalize": True,
            "logit_scale": float(self.scale),
        }

    @property
    def _tokenizer_sha(self) -> str:
        """sha256 of the tokens of some texts: the weights do not say which tokenizer is theirs."""
        return hashlib.sha256(json.dumps(self._ids(_PROBE)).encode()).hexdigest()

    def _pixels(self, images: Sequence[Image.Image] | Tensor) -> Tensor:
        if not isinstance(images, Tensor):
            images = torch.stack([self.preprocess(image) for image in images])
        return images.to(self.device)

    def _autocast(self) -> torch.autocast:
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)


class Encoder(BaseEncoder):
    """Encodes pictures and texts with a `DualEncoder`.

    Args:
        model: the towers, already on their device.
        tokenizer: the tokenizer that belongs to them.
        precision: "fp32", "bf16" or "fp16" (autocast); features are float32 in any case.
        path: where the weights came from.
        fingerprint_of_weights: computed from the weights when not given.
        act_known: whether anything says that the weights were trained with this activation.
    """

    def __init__(
        self,
        model: DualEncoder,
        tokenizer: Tokenizer,
        *,
        precision: str = "fp32",
        path: str | None = None,
        fingerprint_of_weights: str | None = None,
        act_known: bool = True,
    ) -> None:
        super().__init__(
            Preprocess(model.description.preprocess_cfg),
            fingerprint=fingerprint_of_weights
            or fingerprint(published_state(model), model.description.model_cfg),
            precision=precision,
            path=path,
        )
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.act_known = act_known

    @property
    def device(self) -> torch.device:
        return self.model.get_buffer("mean").device

    @property
    def scale(self) -> Tensor:
        return self.model.scale.detach()

    @property
    def context_length(self) -> int:
        return self.tokenizer.context_length

    @property
    def captions(self) -> bool:
        """Whether the model can write captions."""
        return self.model.captions

    @torch.inference_mode()
    def caption(
        self,
        images: Sequence[Image.Image] | Tensor,
        *,
        method: str = "greedy",
        max_length: int | None = None,
        beams: int = 4,
        top_p: float = 0.9,
        seed: int = 0,
    ) -> list[str]:
        """Write a caption of each picture.

        Args:
            images: pictures, or [n, 3, H, W] uint8 as `preprocess` gives them.
            method: "greedy", "top_p" or "beam".
            max_length: tokens without start and end; at most, and by default, what the context
                holds.
            beams: for "beam".
            top_p: for "top_p", the probability that the sampled tokens hold together.
            seed: for "top_p", 0 or more; picture i draws with seed + i.

        Raises:
            ValueError: the model has no captioning decoder, or an option has no usable value.
        """
        how = Generation(method=method, max_length=max_length, beams=beams, top_p=top_p, seed=seed)
        with self._autocast():
            return generate(self.model, self.tokenizer, self._pixels(images), how)

    def truncated(self, texts: Sequence[str]) -> int:
        texts = list(texts)
        return self.tokenizer.truncated(texts, self.tokenizer(texts)) if texts else 0

    @property
    def description(self) -> dict[str, Any]:
        return {
            "model": self.model.description.name,
            "pretrained": self.path or self.model.description.weights,
            "path": self.path,
            "sha256": self.fingerprint,
            "act": self.model.description.act,
            "act_known": self.act_known,
        }

    @property
    def _pictures(self) -> dict[str, Any]:
        config = self.model.description.preprocess_cfg
        return {
            "image_size": config["size"],
            "interp": config.get("interpolation"),
            "resize_mode": config.get("resize_mode"),
            "mean": list(config["mean"]),
            "std": list(config["std"]),
        }

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts).tolist()
        return ids

    def _lengths(self, texts: list[str]) -> list[int]:
        trimmer = self.model.trimmer
        if trimmer is None:  # every text is padded to the context length
            return [self.context_length] * len(texts)
        lengths: list[int] = trimmer.lengths(self.tokenizer(texts)).tolist()
        return lengths

    def _image_features(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels)

    def _text_features(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts)
        if self.model.trimmer is not None:
            tokens = self.model.trimmer(tokens)
        return self.model.encode_text(tokens.to(self.device))


def load(
    path_or_name: str | Path,
    device: str | torch.device | None = None,
    precision: str | None = None,
) -> BaseEncoder:
    """Load a model for encoding.

    Args:
        path_or_name: a run, checkpoint or model folder of ours, a folder in open_clip's local-dir
            format (with or without the prefix `local-dir:`), a Hugging Face folder of CLIP, SigLIP
            or SigLIP 2, or an open_clip name, with its pretrained tag as `NAME/TAG`
            (`ViT-B-32/openai`).
        device: default the GPU if there is one.
        precision: "fp32" (default), "bf16" or "fp16".

    Returns:
        An `Encoder`; for a Hugging Face folder a `vlp.interop.huggingface.HuggingFaceEncoder`.

    Raises:
        FileNotFoundError: a folder without a model, or without one of its files.
        ValueError: an unknown name, or a folder whose files contradict each other.
    """
    from vlp.interop.huggingface import HuggingFaceEncoder, is_huggingface  # it imports this module

    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    precision = precision or "fp32"
    source = str(path_or_name).removeprefix("local-dir:")
    path = Path(source).expanduser()
    if not path.is_dir():
        return _load_named(source, device, precision)
    if is_huggingface(path):
        return HuggingFaceEncoder(path, device=device, precision=precision)
    return _load_folder(path, device, precision)


def _load_folder(path: Path, device: torch.device, precision: str) -> Encoder:
    try:
        folder = find_published(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}, and no Hugging Face folder (config.json)") from None
    card = read_card(folder)
    model = build_model(ModelConfig(arch=str(folder / CONFIG_FILE), weights=str(folder)))
    model_cfg = model.description.model_cfg
    tokenizer = build_tokenizer(model_cfg, source=str(folder))
    model.rename(card.name if card else str(folder))
    model.trim_exactly()
    encoder = Encoder(
        model.to(device).eval(),
        tokenizer,
        precision=precision,
        path=str(folder),
        act_known=card is not None or says_activation(model_cfg),
    )
    if card is not None:
        card.check(encoder.fingerprint)
    return encoder


def _load_named(source: str, device: torch.device, precision: str) -> Encoder:
    arch, _, tag = source.partition("/")
    if not arch:
        raise FileNotFoundError(f"there is no folder {source}")
    if arch not in open_clip.list_models():
        near = get_close_matches(arch, open_clip.list_models(), n=3, cutoff=0.5)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise ValueError(f"{source!r} is no folder, and {arch!r} is no open_clip model{hint}")
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
        raise ValueError(
            f"{source!r} is no folder, and as a model's name it lacks a pretrained tag, "
            f"NAME/TAG; tags of {arch}: {tags}"
        )
    model = build_model(ModelConfig(arch=arch, weights=tag))
    tokenizer = build_tokenizer(model.description.model_cfg)
    model.rename(arch)
    model.trim_exactly()
    return Encoder(model.to(device).eval(), tokenizer, precision=precision, path=source)
