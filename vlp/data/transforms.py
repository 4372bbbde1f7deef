"""Pixels for a model: the exact preprocessing of evaluation, the augmentation of training.

Both give uint8; the device normalises. Moving uint8 costs a quarter of moving float32.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.transform import image_transform
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, PILToTensor
from torchvision.transforms import functional as TF


class Preprocess:
    """Evaluation preprocessing: open_clip's own resize and crop, as uint8. Picklable.

    Args:
        config: open_clip's preprocess_cfg (size, interpolation, resize_mode, fill_color).
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        size = config["size"]
        stock = image_transform(
            size if isinstance(size, int) else tuple(size),
            is_train=False,
            resize_mode=config.get("resize_mode"),
            interpolation=config.get("interpolation"),
            fill_color=config.get("fill_color", 0),
        )
        # its last two steps make floats and normalise them, which the model does on the device
        self._transform = Compose([*stock.transforms[:-2], PILToTensor()])

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB image -> [3, H, W] uint8."""
        pixels: Tensor = self._transform(image)
        return pixels


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Training augmentation. The defaults are open_clip's: a mild random resized crop."""

    scale: tuple[float, float] = (0.9, 1.0)  # share of the picture's area that is kept
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height of the crop
    flip: float = 0.0  # probability of mirroring; captions with left and right suffer
    color_jitter: float = 0.0  # strength s: brightness, contrast, saturation in [1 - s, 1 + s]
    grayscale: float = 0.0  # probability
    word_dropout: float = 0.0  # probability of leaving out each word of a caption; one stays

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"data.augment.scale must be 0 < low <= high <= 1, got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"data.augment.ratio must be 0 < low <= high, got {self.ratio}")
        for name in ("flip", "color_jitter", "grayscale", "word_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.augment.{name} must be in [0, 1]")


def kept_words(text: str, probability: float, rng: np.random.Generator) -> list[int]:
    """Places of the words that word dropout leaves, at least one where there are any."""
    places = range(len(text.split()))
    kept = [place for place in places if rng.random() >= probability]
    return kept if kept or not places else [int(rng.integers(len(places)))]


class TrainTransform:
    """Random crop, resize and colours from a generator that the caller keys by sample. Picklable.

    Args:
        size: (height, width) of the result, in pixels.
        augment: what is drawn.
    """

    def __init__(self, size: tuple[int, int], augment: Augment) -> None:
        self.size = size
        self.augment = augment

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> Tensor:
        """[H0, W0, 3] uint8 -> [3, H, W] uint8."""
        top, left, height, width = self._box(pixels.shape[0], pixels.shape[1], rng)
        crop = pixels[top : top + height, left : left + width]
        x = torch.from_numpy(crop.copy())  # a view of the decoder's memory is read-only
        x = x.permute(2, 0, 1).unsqueeze(0)  # [1, 3, h, w], channels last in memory
        x = F.interpolate(x, self.size, mode="bicubic", antialias=True, align_corners=False)[0]
        if rng.random() < self.augment.flip:
            x = x.flip(-1)
        return self._colours(x, rng)

    def _box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Top, left, height, width of a crop, as torchvision's RandomResizedCrop draws it."""
        low, high = (math.log(value) for value in self.augment.ratio)
        for _ in range(10):
            area = height * width * rng.uniform(*self.augment.scale)
            ratio = math.exp(rng.uniform(low, high))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        w = min(width, round(height * self.augment.ratio[1]))
        h = min(height, round(width / self.augment.ratio[0]))
        return (height - h) // 2, (width - w) // 2, h, w

    def _colours(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        strength = self.augment.color_jitter
        if strength:
            adjust = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation)
            for index in rng.permutation(len(adjust)):
                x = adjust[index](x, rng.uniform(1 - strength, 1 + strength))
        if rng.random() < self.augment.grayscale:
            x = TF.rgb_to_grayscale(x, num_output_channels=3)
        return x.contiguous()
