"""The model of an index: loaded when it is needed, and refused when it is another one."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.retrieval.manifest import Manifest, ModelMark, read_manifest

if TYPE_CHECKING:  # both import torch and more, which a query by id does without
    from torch import Tensor

    from vlp.encoder import BaseEncoder

Vectors32 = NDArray[np.float32]


class IndexModel:
    """Encodes for an index.

    One thread at a time, also where several indices share the encoder: more would not be faster,
    and tokenizers of Hugging Face mix up their settings.

    Args:
        folder: of the index.
        encoder: the model that it was made with; None to load it when it is needed.
        device: for loading it.

    Raises:
        InputError: the model is another than the index's.
    """

    def __init__(self, folder: Path, encoder: "BaseEncoder | None", device: str | None) -> None:
        self.folder = folder
        self._encoder = encoder
        self._device = device
        self._lock = threading.Lock()
        if encoder is not None:
            self._check(encoder, read_manifest(folder))

    @property
    def encoder(self) -> "BaseEncoder":
        """The model.

        Raises:
            InputError: the index does not know its model, or that is gone or another one now.
        """
        with self._lock:
            return self._loaded()

    def encode_text(self, texts: Sequence[str]) -> tuple[Vectors32, list[str]]:
        """([n, D], what the user should know of texts that were cut)."""
        encoder = self.encoder
        with encoder.lock:
            cut = encoder.truncated(texts)
            vectors = _numpy(encoder.encode_text(texts, report_truncated=False))
        if not cut:
            return vectors, []
        return vectors, [f"{cut} of {len(texts)} texts cut at {encoder.context_length} tokens"]

    def encode_image(self, images: Iterable[Any]) -> Vectors32:
        """[n, D].

        Raises:
            InputError: a picture cannot be read; the message has its place and its name.
        """
        encoder = self.encoder
        with encoder.lock:
            return _numpy(encoder.encode_image(images))

    def _loaded(self) -> "BaseEncoder":
        if self._encoder is None:
            import vlp

            manifest = read_manifest(self.folder)
            mark = manifest.model
            if mark is None:
                raise InputError(
                    f"{self.folder} does not know which model made its vectors: without naming "
                    "one, only queries by id or vector are possible"
                )
            try:
                encoder = vlp.load(mark.source, device=self._device)
            except (OSError, ValueError) as error:
                raise InputError(f"the index's model {mark} cannot be loaded: {error}") from error
            self._check(encoder, manifest)
            self._encoder = encoder
        return self._encoder

    def _check(self, encoder: "BaseEncoder", manifest: Manifest) -> None:
        mark, other = manifest.model, model_mark(encoder, str(encoder.path))
        if mark is not None and mark.fingerprint != encoder.fingerprint:
            raise InputError(
                f"{self.folder} was made with {mark}, not with {other}: "
                "their vectors do not belong together"
            )
        if encoder.width != manifest.dim:
            raise InputError(
                f"{self.folder} holds vectors of {manifest.dim} numbers; {other} makes "
                f"{encoder.width}"
            )


def model_mark(encoder: "BaseEncoder", source: str) -> ModelMark:
    """What an index notes about its model: of a run that goes on training, this checkpoint."""
    there = Path(encoder.path or source).expanduser()
    return ModelMark(
        source=str(there.absolute()) if there.exists() else source,
        fingerprint=encoder.fingerprint,
        name=str(encoder.description["model"]),
    )


def _numpy(features: "Tensor") -> Vectors32:
    array: Vectors32 = features.float().cpu().numpy()
    return array
