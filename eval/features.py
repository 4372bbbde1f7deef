"""Features of one model: encoded once, kept in memory for the data set at hand and in a folder.

CACHE/FINGERPRINT/images-KEY.safetensors and texts-KEY.safetensors. The key covers everything that
decides a feature: weights, preprocessing, context length, precision, device type, batch, versions
of the packages, and which pictures (with the times of their files) or texts. What is encoded
together is kept together, so a feature has the same last bits whether it was just encoded or read.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eval.datasets import EvalDataset
from eval.encode import EncodedImages, encode_images, encode_texts
from eval.interface import Encodes, SaysNo
from vlp import dist
from vlp.data.files import replace_atomically
from vlp.data.images import UnreadableImageError

Tensors = dict[str, Tensor]
logger = logging.getLogger(__name__)
_NOT_OF_FEATURES = ("logit_scale", "normalize")  # of an encoder's protocol
_PACKAGES = ("vlp", "torch", "open_clip_torch", "timm", "transformers", "pillow")


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
        packages = [version(name) for name in _PACKAGES]
        self._how = [encoder.fingerprint, encoder.device.type, batch, protocol, packages]

    def images(self, dataset: EvalDataset) -> EncodedImages:
        """Features of the readable pictures of a data set."""
        key = self._key("images", dataset.pictures_key)
        if key not in self._images:
            found = self._read_images(key, dataset)
            self._images[key] = found or self._encode_images(key, dataset)
        return self._images[key]

    def texts(self, texts: Sequence[str], among: Sequence[str] = ()) -> Tensor:
        """Features of texts, [m, D].

        Args:
            texts: what is asked for.
            among: where all of them are among these, these are encoded and kept together, so that
                several tasks share the captions of a data set, and a caption has the same feature
                whichever of them asks.
        """
        own, whole = set(texts), set(among)
        place, rows = self._set_of_texts(sorted(whole if own <= whole else own))
        return rows[[place[text] for text in texts]]

    def no_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of texts by CLIPN's 'no' tower, [m, D]; they are not kept."""
        assert isinstance(self.encoder, SaysNo)
        encode = self.encoder.encode_no_text
        return encode_texts(texts, self.encoder, batch=self.batch, encode=encode)

    def _set_of_texts(self, unique: list[str]) -> tuple[dict[str, int], Tensor]:
        key = self._key("texts", unique)
        if key not in self._texts:
            found = self._read(key, lambda tensors, about: len(tensors["features"]) == len(unique))
            if found is None:
                rows = encode_texts(
                    unique, self.encoder, batch=self.batch, show_progress=self.show_progress
                )
                self._write(key, {"features": rows}, {})
            else:
                rows = self._placed(found[0]["features"])
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
        tensors = {"features": encoded.features, "positions": torch.tensor(encoded.positions)}
        self._write(key, tensors, {"skipped": encoded.skipped})
        return encoded

    def _read_images(self, key: str, dataset: EvalDataset) -> EncodedImages | None:
        def usable(tensors: Tensors, about: Mapping[str, Any]) -> bool:
            there = tensors["positions"].tolist()
            missing = set(range(len(dataset))).difference(there)
            whole = len(tensors["features"]) == len(there) == len(dataset) - len(about["skipped"])
            return whole and not any(_is_readable(dataset, position) for position in missing)

        found = self._read(key, usable)
        if found is None:
            return None
        tensors, about = found
        skipped = [(name, reason) for name, reason in about["skipped"]]
        if skipped and dist.rank() == 0:
            total = len(dataset)
            logger.warning("%s: %d of %d pictures skipped", dataset.name, len(skipped), total)
        return EncodedImages(
            features=self._placed(tensors["features"]),
            positions=tensors["positions"].tolist(),
            skipped=skipped,
        )

    def _placed(self, rows: Tensor) -> Tensor:
        """Where they are when they were just encoded."""
        device = self.encoder.device
        return rows if device.type == "mps" else rows.to(device)

    def _key(self, kind: str, what: object) -> str:
        digest = hashlib.sha256(json.dumps([self._how, what]).encode())
        return f"{kind}-{digest.hexdigest()[:32]}"

    def _read(
        self, key: str, usable: Callable[[Tensors, Mapping[str, Any]], bool]
    ) -> tuple[Tensors, dict[str, Any]] | None:
        """What was kept, or None; all ranks agree, as encoding needs all of them."""
        if self.folder is None:
            return None
        path = self.folder / f"{key}.safetensors"
        found = None
        if path.is_file():
            try:
                tensors, about = _load(path)
                found = (tensors, about) if usable(tensors, about) else None
            except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
                logger.warning("%s cannot be read and is made anew: %s", path, error)
        return found if all(dist.gather_objects(found is not None)) else None

    def _write(self, key: str, tensors: Tensors, about: Mapping[str, Any]) -> None:
        if self.folder is None or dist.rank() != 0:
            return
        rows = {name: value.cpu().contiguous() for name, value in tensors.items()}
        metadata = {"about": json.dumps({**about, "sha256": _digest(rows)})}
        path = self.folder / f"{key}.safetensors"
        try:
            replace_atomically(path, lambda temporary: save_file(rows, temporary, metadata))
        except (OSError, SafetensorError) as error:
            # only this rank would fail, and the features are there all the same
            logger.warning("%s cannot be written, so it is not kept: %s", path, error)


def _load(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Raises ValueError for rows that are not those that were written."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["about"])
    if about.pop("sha256") != _digest(tensors):
        raise ValueError("its sha256 is another one")
    return tensors, about


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _is_readable(dataset: EvalDataset, position: int) -> bool:
    """Whether a picture that was skipped can be read by now: the disk may have failed."""
    try:
        dataset.item(position)
    except UnreadableImageError:
        return False
    return True
