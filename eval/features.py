"""Features of one model: encoded once, kept in memory for the data set at hand and in a folder.

CACHE/FINGERPRINT/images-KEY.safetensors and texts-KEY.safetensors. The key covers everything that
decides a feature: weights, preprocessing, context length, precision, device type, batch, and which
pictures (with the times of their files) or texts. What is encoded together is kept together, so a
feature has the same last bits whether it was just encoded or read.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eval.datasets import EvalDataset
from eval.encode import EncodedImages, encode_images, encode_texts
from eval.interface import Encodes, SaysNo
from vlp import dist
from vlp.data.files import replace_atomically

logger = logging.getLogger(__name__)
_NOT_OF_FEATURES = ("logit_scale", "normalize")  # of an encoder's protocol


class Features:
    """Encodes, and remembers.

    Args:
        encoder: the model, equal on all ranks.
        folder: where features are kept between runs; None keeps none.
        batch: pictures or texts at a time, one rank.
        workers: decoding processes, one rank.
        show_progress: bars on standard error, on the first rank.
    """

    def __init__(
        self,
        encoder: Encodes,
        folder: Path | None = None,
        *,
        batch: int = 256,
        workers: int = 0,
        show_progress: bool = False,
    ) -> None:
        self.encoder = encoder
        self.folder = None if folder is None else folder / encoder.fingerprint[:16]
        self.batch = batch
        self.workers = workers
        self.show_progress = show_progress
        self._images: dict[str, EncodedImages] = {}
        self._texts: dict[str, tuple[dict[str, int], Tensor]] = {}
        protocol = {k: v for k, v in encoder.protocol.items() if k not in _NOT_OF_FEATURES}
        self._how = [encoder.fingerprint, encoder.device.type, batch, protocol]

    def images(self, dataset: EvalDataset) -> EncodedImages:
        """Features of the readable pictures of a data set."""
        key = self._key("images", dataset.pictures_key)
        if key not in self._images:
            self._images[key] = self._read_images(key) or self._encode_images(key, dataset)
        return self._images[key]

    def texts(self, texts: Sequence[str], among: Sequence[str] = ()) -> Tensor:
        """Features of texts, [m, D].

        Args:
            texts: what is asked for.
            among: where all of them are among these, these are encoded and kept together, so that
                several tasks share the captions of a data set.
        """
        unique = list(dict.fromkeys(texts))
        whole = list(dict.fromkeys(among))
        shared = len(whole) > len(unique) and set(unique) <= set(whole)
        if shared and (self.folder is not None or self._key("texts", whole) in self._texts):
            unique = whole
        place, rows = self._set_of_texts(unique)
        return rows[[place[text] for text in texts]]

    def no_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of texts by CLIPN's 'no' tower, [m, D]; they are not kept."""
        assert isinstance(self.encoder, SaysNo)
        encode = self.encoder.encode_no_text
        return encode_texts(texts, self.encoder, batch=self.batch, encode=encode)

    def forget(self) -> None:
        """Drop what is in memory: the next data set has no use for it."""
        self._images.clear()
        self._texts.clear()

    def _set_of_texts(self, unique: list[str]) -> tuple[dict[str, int], Tensor]:
        key = self._key("texts", unique)
        if key not in self._texts:
            found = self._read(key)
            if found is None:
                rows = encode_texts(
                    unique, self.encoder, batch=self.batch, show_progress=self.show_progress
                )
                self._write(key, {"features": rows}, {})
            else:
                rows = found[0]["features"].to(self.encoder.device)
            self._texts[key] = ({text: i for i, text in enumerate(unique)}, rows)
        return self._texts[key]

    def _encode_images(self, key: str, dataset: EvalDataset) -> EncodedImages:
        encoded = encode_images(
            dataset,
            self.encoder,
            batch=self.batch,
            workers=self.workers,
            show_progress=self.show_progress,
        )
        about = {"positions": encoded.positions, "skipped": encoded.skipped}
        self._write(key, {"features": encoded.features}, about)
        return encoded

    def _read_images(self, key: str) -> EncodedImages | None:
        found = self._read(key)
        if found is None:
            return None
        tensors, about = found
        return EncodedImages(
            features=tensors["features"].to(self.encoder.device),
            positions=about["positions"],
            skipped=[(name, reason) for name, reason in about["skipped"]],
        )

    def _key(self, kind: str, what: object) -> str:
        digest = hashlib.sha256(json.dumps([self._how, what]).encode())
        return f"{kind}-{digest.hexdigest()[:32]}"

    def _read(self, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was kept, or None; all ranks agree, as encoding needs all of them."""
        if self.folder is None:
            return None
        path = self.folder / f"{key}.safetensors"
        found = None
        if path.is_file():
            try:
                with safe_open(path, framework="pt") as file:
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                    found = tensors, json.loads(file.metadata()["about"])
            except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
                logger.warning("%s cannot be read and is made anew: %s", path, error)
        return found if all(dist.gather_objects(found is not None)) else None

    def _write(self, key: str, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        if self.folder is None or dist.rank() != 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = {name: value.cpu().contiguous() for name, value in tensors.items()}
        save: Callable[[Path], None] = lambda path: save_file(  # noqa: E731
            rows, path, metadata={"about": json.dumps(about)}
        )
        replace_atomically(self.folder / f"{key}.safetensors", save)
