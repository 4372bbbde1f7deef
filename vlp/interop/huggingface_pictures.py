"""Pictures as a Hugging Face folder wants them: its image processor's resize and crop, as uint8.

Pixels equal those of transformers' PIL-backed processors. Its torchvision-backed ones, the default
since transformers 5, round differently when they resize: some pixels differ by a level or two. In
transformers 4 those also crop a pixel further where an odd margin is left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor
from transformers import AutoImageProcessor

from vlp.errors import InputError

FILES = ("preprocessor_config.json", "processor_config.json")  # transformers 5 writes the second
_CLASSES = ("CLIPImageProcessor", "SiglipImageProcessor")
_NEEDED = {"do_resize": True, "do_rescale": True, "do_normalize": True}


@dataclass(frozen=True, kw_only=True)
class HuggingFacePreprocess:
    """A folder's image processor without its normalisation, which is done on the device. Picklable.

    Sizes are (height, width) in pixels.
    """

    shortest: int | None  # resize this side to it, or
    squash: tuple[int, int] | None  # both
    crop: tuple[int, int] | None  # from the centre; what the picture lacks is black
    resample: int  # Pillow's number of the interpolation
    mean: tuple[float, ...]  # of pixels in [0, 1]
    std: tuple[float, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        size = self.crop or self.squash
        assert size is not None  # by read_preprocess
        return size

    @property
    def interpolation(self) -> str:
        return Image.Resampling(self.resample).name.lower()

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB image -> [3, H, W] uint8."""
        image = image.convert("RGB")
        width, height = image.size
        if self.squash is not None:
            height, width = self.squash
        elif self.shortest is not None:
            longer = int(self.shortest * max(width, height) / min(width, height))
            portrait = width <= height
            height, width = (longer, self.shortest) if portrait else (self.shortest, longer)
        image = image.resize((width, height), Image.Resampling(self.resample))
        if self.crop is not None:
            top, left = (height - self.crop[0]) // 2, (width - self.crop[1]) // 2
            image = image.crop((left, top, left + self.crop[1], top + self.crop[0]))
        pixels: Tensor = pil_to_tensor(image)
        return pixels

    def normalise(self, pixels: Tensor) -> Tensor:
        """[n, 3, H, W] uint8 -> float32."""
        mean, std = (
            torch.tensor(values, device=pixels.device).view(3, 1, 1)
            for values in (self.mean, self.std)
        )
        return (pixels.to(torch.float32) / 255 - mean) / std


def read_preprocess(folder: Path) -> HuggingFacePreprocess:
    """The preprocessing of a folder, with transformers' defaults for what its file leaves out.

    Raises:
        InputError: there is no file of an image processor, or it is of one of another kind or with
            steps that are not done here.
    """
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder} lacks {' or '.join(FILES)}")
    auto: Any = AutoImageProcessor
    processor = auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    kind = type(processor).__name__
    if not kind.startswith(_CLASSES):
        raise InputError(f"{path}: image processor {kind}: choices are {', '.join(_CLASSES)}")
    config = processor.to_dict()
    for name, value in _NEEDED.items():
        if bool(config.get(name)) is not value:
            raise InputError(f"{path}: {name} must be {value}, is {config.get(name)}")
    if abs(config["rescale_factor"] * 255 - 1) > 1e-6:
        raise InputError(f"{path}: rescale_factor must be 1/255, is {config['rescale_factor']}")
    shortest, squash = _resize(path, config["size"])
    crop = _box(config["crop_size"]) if config.get("do_center_crop") else None
    if crop is None and squash is None:
        raise InputError(f"{path}: with size shortest_edge, do_center_crop must be True")
    return HuggingFacePreprocess(
        shortest=shortest,
        squash=squash,
        crop=crop,
        resample=int(config["resample"]),
        mean=tuple(config["image_mean"]),
        std=tuple(config["image_std"]),
    )


def _resize(path: Path, size: Mapping[str, Any]) -> tuple[int | None, tuple[int, int] | None]:
    """(shortest side, None) or (None, both sides)."""
    given = {name: value for name, value in size.items() if value is not None}
    if given.keys() == {"shortest_edge"}:
        return int(given["shortest_edge"]), None
    if given.keys() == {"height", "width"}:
        return None, _box(given)
    raise InputError(f"{path}: size {given}: choices are shortest_edge, or height and width")


def _box(size: Mapping[str, Any]) -> tuple[int, int]:
    return int(size["height"]), int(size["width"])
