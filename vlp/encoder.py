"""A trained model as its users meet it: pictures and strings in, unit vectors out."""

import hashlib
import json
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vlp.checkpoint import published_state
from vlp.data.transforms import Preprocess
from vlp.errors import InputError
from vlp.model.generate import Generation, generate
from vlp.model.tokens import Tokenizer
from vlp.model.towers import DualEncoder
from vlp.pixels import Pictures, is_one, pixel_batches
from vlp.published import fingerprint

log = logging.getLogger(__name__)

_PROBE = ["A photo of two Dogs, 10 cats & the café's blue sign!", "naïve ünder 你好 👍 _x-y/z"]
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_PICTURES, _TEXTS = (64, 256), (256, 1024)  # in one pass, on a CPU and on anything else
_TEXTS_AT_ONCE = 10_000  # that are tokenized
_SHOWN = 80  # characters of a text in a message


def _parts(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    return (list(texts[start : start + size]) for start in range(0, len(texts), size))


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
            raise InputError(f"precision {precision!r}: choices are {', '.join(PRECISIONS)}")
        self.preprocess = preprocess
        self.fingerprint = fingerprint
        self.precision = precision
        self.path = path
        self.lock = threading.Lock()  # for users with several threads: tokenizers are not safe

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the towers are."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of what `preprocess` gives."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D of the features."""

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

    def truncated(self, texts: Sequence[str]) -> int:
        """How many of the texts are cut at the context length."""
        return sum(self._cut(part, self._tokens(part)) for part in _parts(texts, _TEXTS_AT_ONCE))

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the tower reads of each text, [n]."""
        parts = _parts(texts, _TEXTS_AT_ONCE)
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
    def _tokens(self, texts: list[str]) -> Any:  # noqa: ANN401 (each library has its own)
        """Tokens as `_text_features` takes them, cut at the context length."""

    @abstractmethod
    def _cut(self, texts: list[str], tokens: Any) -> int:  # noqa: ANN401
        """How many of the texts lost tokens; `tokens` is what `_tokens` gave for them."""

    @abstractmethod
    def _text_features(self, tokens: Any) -> Tensor:  # noqa: ANN401
        """Tokens -> [n, D], unit norm."""

    @torch.inference_mode()
    def encode_image(self, images: Pictures, *, batch_size: int | None = None) -> Tensor:
        """Features of pictures, unit norm: [D] of one picture, [n, D] of several.

        Args:
            images: one or an iterable of PIL images, paths, bytes of files, arrays ([H, W, 3] or
                [H, W]) and tensors ([3, H, W]); arrays and tensors are uint8, or floats in [0, 1].
                Each is resized and cropped by `preprocess`. [n, 3, H, W] uint8 as `preprocess`
                gives them are taken as they are.
            batch_size: pictures in one pass; default 64 on a CPU, 256 on a GPU, and all of pixels
                that are taken as they are.

        Raises:
            InputError: a picture cannot be read; the message has its place and its name.
            TypeError: something that is no picture.
        """
        with self._autocast():
            found = [self._image_features(p) for p in self._pixels(images, batch_size)]
        features = torch.cat(found) if found else self._none()
        return features[0] if is_one(images) else features

    @torch.inference_mode()
    def encode_text(
        self,
        texts: str | Iterable[str],
        *,
        batch_size: int | None = None,
        report_truncated: bool = True,
    ) -> Tensor:
        """Features of texts, unit norm: [D] of one text, [n, D] of several.

        Args:
            texts: one or several.
            batch_size: texts in one pass; default 256 on a CPU, 1024 on a GPU.
            report_truncated: warn in the log of texts that are longer than the context length;
                they are cut in any case.

        Raises:
            TypeError: something that is no string.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        for place, text in enumerate(several):
            if not isinstance(text, str):
                raise TypeError(f"text {place} is of type {type(text).__name__}: expected a string")
        found, cut, first = [], 0, ""
        for part in _parts(several, self._batch(batch_size, _TEXTS)):
            tokens = self._tokens(part)
            if report_truncated and (here := self._cut(part, tokens)):
                first = first or next(text for text in part if self.truncated([text]))
                cut += here
            with self._autocast():
                found.append(self._text_features(tokens))
        if cut:
            self._report(cut, len(several), first)
        features = torch.cat(found) if found else self._none()
        return features[0] if isinstance(texts, str) else features

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

    def _pixels(self, images: Pictures, batch_size: int | None) -> Iterator[Tensor]:
        """Batches of [b, 3, H, W] uint8, on the device."""
        batch = self._batch(None, _PICTURES)
        for pixels in pixel_batches(images, self.preprocess, self.image_size, batch_size, batch):
            yield pixels.to(self.device)

    def _batch(self, given: int | None, defaults: tuple[int, int]) -> int:
        if given is None:
            return defaults[self.device.type != "cpu"]
        if given < 1:
            raise InputError(f"batch_size {given}: expected 1 or more")
        return given

    def _none(self) -> Tensor:
        return torch.zeros(0, self.width, device=self.device)

    def _report(self, cut: int, texts: int, first: str) -> None:
        log.warning(
            "%d of %d texts %s cut at the context length of %d tokens, the first: %r",
            *(cut, texts, "is" if cut == 1 else "are", self.context_length),
            first if len(first) <= _SHOWN else f"{first[:_SHOWN]}...",
        )

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
    def image_size(self) -> tuple[int, int]:
        return self.model.image_size

    @property
    def width(self) -> int:
        return self.model.width

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
        images: Pictures,
        *,
        method: str = "greedy",
        max_length: int | None = None,
        beams: int = 4,
        top_p: float = 0.9,
        seed: int = 0,
    ) -> list[str]:
        """Write a caption of each picture.

        Args:
            images: as `encode_image` takes them.
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
        written: list[str] = []
        for pixels in self._pixels(images, None):
            own = replace(how, seed=seed + len(written))
            with self._autocast():
                written += generate(self.model, self.tokenizer, pixels, own)
        return written

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

    def _tokens(self, texts: list[str]) -> Tensor:
        return self.tokenizer(texts)

    def _cut(self, texts: list[str], tokens: Tensor) -> int:
        return self.tokenizer.truncated(texts, tokens)

    def _text_features(self, tokens: Tensor) -> Tensor:
        if self.model.trimmer is not None:
            tokens = self.model.trimmer(tokens)
        return self.model.encode_text(tokens.to(self.device))
