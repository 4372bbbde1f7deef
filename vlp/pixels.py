"""Pictures as users have them, to the pixels that a model reads.

Files, bytes and PIL images go through the policy of `vlp.data.images`: upright by their metadata,
alpha on white, bombs refused. Arrays and tensors are pixels already: they are only resized.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlp.data.images import MAX_PIXELS, UnreadableImageError, check_shape, decode_rgb, to_rgb
from vlp.errors import InputError

Picture: TypeAlias = Image.Image | str | PathLike[str] | bytes | np.ndarray[Any, Any] | Tensor
Pictures: TypeAlias = Picture | Iterable[Picture]
_THREADS = 8  # that decode and resize
KINDS = "a PIL image, a path, bytes of a file, an array [H, W, 3] or [H, W], or a tensor [3, H, W]"


def is_one(pictures: Pictures) -> bool:
    """Whether this is a picture, rather than several."""
    if isinstance(pictures, np.ndarray):
        return pictures.ndim <= 3
    if isinstance(pictures, Tensor):
        return pictures.ndim <= 3
    return isinstance(pictures, Image.Image | str | PathLike | bytes | bytearray | memoryview)


def pixel_batches(
    pictures: Pictures,
    preprocess: Callable[[Image.Image], Tensor],
    size: tuple[int, int],
    batch_size: int | None,
    default: int,
) -> Iterator[Tensor]:
    """The pictures in batches of [b, 3, H, W] uint8, read as they are needed.

    Args:
        pictures: one or several.
        preprocess: of the model.
        size: (height, width) that it gives. uint8 tensors [n, 3, H, W] of this size are taken as
            they are.
        batch_size: pictures at a time.
        default: where no size is given, except for pixels that are taken as they are: those are
            one batch already.

    Raises:
        InputError: a picture cannot be used; the message has its place and its name.
    """
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size {batch_size}: expected 1 or more")
    if isinstance(pictures, Tensor) and _is_ready(pictures, size):
        pixels = pictures if pictures.ndim == 4 else pictures[None]
        if len(pixels):
            step = batch_size or len(pixels)
            yield from (pixels[start : start + step] for start in range(0, len(pixels), step))
        return
    several = [pictures] if is_one(pictures) else pictures
    if not isinstance(several, Iterable):
        raise TypeError(f"{type(pictures).__name__} is no picture: choices are {KINDS}")
    named = ((_still(own), _name(place, own, pictures)) for place, own in enumerate(several))

    def prepare(one: tuple[object, str]) -> Tensor:
        return preprocess(_rgb(*one, size))

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        while chunk := list(islice(named, batch_size or default)):
            once: dict[int, tuple[object, str]] = {}  # two threads cannot decode one image
            for own, name in chunk:
                once.setdefault(id(own), (own, name))
            found = dict(zip(once, pool.map(prepare, once.values()), strict=True))
            yield torch.stack([found[id(own)] for own, _ in chunk])


def _still(picture: object) -> object:
    """A picture as it is now: an iterator of frames turns one image from each to the next."""
    if isinstance(picture, Image.Image) and getattr(picture, "is_animated", False):
        return picture.copy() if picture.width * picture.height <= MAX_PIXELS else picture
    return picture


def _is_ready(pixels: Tensor, size: tuple[int, int]) -> bool:
    shape = (3, *size)
    return pixels.dtype == torch.uint8 and pixels.ndim in (3, 4) and pixels.shape[-3:] == shape


def _name(place: int, picture: object, given: object) -> str:
    """How an error calls a picture."""
    file = f" ({fspath(picture)})" if isinstance(picture, str | PathLike) else ""
    return f"the picture{file}" if picture is given else f"picture {place}{file}"


def _rgb(picture: object, name: str, size: tuple[int, int]) -> Image.Image:
    try:
        image = _opened(picture, name)
        check_shape(image, size)
    except UnreadableImageError as error:
        raise InputError(f"{name} is not readable: {error}") from error
    return image


def _opened(picture: object, name: str) -> Image.Image:
    if isinstance(picture, Image.Image):
        return to_rgb(picture)
    if isinstance(picture, str | PathLike):
        return Image.fromarray(decode_rgb(_read(Path(picture), name)))
    if isinstance(picture, bytes | bytearray | memoryview):
        return Image.fromarray(decode_rgb(bytes(picture)))
    if isinstance(picture, np.ndarray):
        return _from_array(picture, name)
    if isinstance(picture, Tensor):
        return _from_tensor(picture, name)
    raise TypeError(f"{name} is of type {type(picture).__name__}: choices are {KINDS}")


def _read(path: Path, name: str) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in it; ~ of an unknown user
        hint = "; addresses are not fetched" if str(path).startswith(("http:", "https:")) else ""
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name} cannot be read: {reason}{hint}") from error


def _from_array(array: np.ndarray[Any, Any], name: str) -> Image.Image:
    colours = array.ndim == 3 and array.shape[2] == 3
    if not (colours or array.ndim == 2) or not array.size:
        raise InputError(f"{name} has shape {list(array.shape)}: an array is [H, W, 3] or [H, W]")
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"{name} has dtype {array.dtype}: choices are uint8 and floats")
        low, high = float(array.min()), float(array.max())
        # what rounds to 0 or 255 is arithmetic's, not the user's error; NaN is neither
        if not (low * 255 > -0.5 and high * 255 < 255.5):
            raise InputError(
                f"{name} has values from {low:g} to {high:g}: floats are pixels in [0, 1], "
                "not yet normalised"
            )
        array = (array * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")


def _from_tensor(pixels: Tensor, name: str) -> Image.Image:
    if pixels.ndim != 3 or pixels.shape[0] != 3:
        raise InputError(f"{name} has shape {list(pixels.shape)}: a tensor is [3, H, W]")
    pixels = pixels.detach().permute(1, 2, 0).cpu()
    return _from_array((pixels.float() if pixels.is_floating_point() else pixels).numpy(), name)
