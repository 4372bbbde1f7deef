"""What happens to a picture on its way into a shard: kept byte for byte, or encoded once."""

import io
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from vlp.data.images import FORMATS, MAX_PIXELS, Decoded, decode

ResizeMode = Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border", "squash"]

_JPEG_SOURCES = ("JPEG", "MPO")
_LONGEST_JPEG = 65_500  # pixels of a side, by libjpeg
_LONG_SIDE_MODES = ("keep_ratio_largest", "border")  # those that `image_size` bounds as a whole


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Which pictures are wanted, and at what size.

    A picture that is not larger than `image_size` is kept as it is unless `enlarge` says otherwise;
    that is its long side for `keep_ratio_largest` and `border`, the short side for the others. The
    modes that make squares also change one whose side just has the size. (In img2dataset, whose
    names of modes these are but for `squash`, this is `resize_only_if_bigger`.)
    """

    image_size: int | None = None  # pixels; None keeps every size
    resize_mode: ResizeMode = "keep_ratio"
    enlarge: bool = False
    quality: int = 95  # of pictures encoded as JPEG
    min_size: int = 1  # pixels of the short side
    max_aspect: float | None = None  # long side / short side
    max_pixels: int = MAX_PIXELS
    animated: Literal["first", "drop"] = "first"  # frame


@dataclass(frozen=True, kw_only=True)
class StoredPicture:
    """The bytes that go into the shard, and where they come from. Sizes in pixels, upright."""

    data: bytes
    extension: str
    width: int
    height: int
    original_width: int
    original_height: int
    source_mode: str
    frames: int
    verbatim: bool  # the source's own bytes


class UnwantedPictureError(ValueError):
    """A sound picture that the policy does not want; `status` is its word for the rows."""

    def __init__(self, status: str, message: str, decoded: Decoded) -> None:
        super().__init__(message)
        self.status = status
        self.known = {
            "original_width": decoded.image.width,
            "original_height": decoded.image.height,
            "source_mode": decoded.source_mode,
            "frames": decoded.frames,
        }


def store(data: bytes, policy: Policy) -> StoredPicture:
    """Check a picture by decoding it fully, and encode it again only where that is needed.

    It is needed for another size, for a format that shards do not hold, and for a picture that
    readers would show differently (turned by EXIF, transparent, CMYK, 16 bits, animated).

    Raises:
        UnreadableImageError: not a picture, cut, or far too large.
        UnwantedPictureError: too small, too long or animated, where the policy says so, or too
            large at the size that it asks for.
    """
    decoded = decode(data, policy.max_pixels)
    _check_wanted(decoded, policy)
    _check_resized(decoded, policy)
    image = resize(decoded.image, policy)
    verbatim = not decoded.changed and decoded.format in FORMATS and image is decoded.image
    if verbatim:
        stored, extension = data, FORMATS[decoded.format]
    elif decoded.format in _JPEG_SOURCES and max(image.size) > _LONGEST_JPEG:
        message = (
            f"{image.width} x {image.height} pixels: a side of a JPEG has at most {_LONGEST_JPEG}"
        )
        raise UnwantedPictureError("too_large", message, decoded)
    elif decoded.format in _JPEG_SOURCES:
        stored, extension = _encode(image, "JPEG", policy.quality), "jpg"
    else:
        stored, extension = _encode(image, "PNG", policy.quality), "png"
    return StoredPicture(
        data=stored,
        extension=extension,
        width=image.width,
        height=image.height,
        original_width=decoded.image.width,
        original_height=decoded.image.height,
        source_mode=decoded.source_mode,
        frames=decoded.frames,
        verbatim=verbatim,
    )


def _check_wanted(decoded: Decoded, policy: Policy) -> None:
    width, height = decoded.image.size
    size = f"{width} x {height} pixels"
    if min(width, height) < policy.min_size:
        message = f"{size}: the short side is under {policy.min_size}"
        raise UnwantedPictureError("too_small", message, decoded)
    limit = policy.max_aspect
    if limit is not None and max(width, height) > limit * min(width, height):
        message = f"{size}: longer than {limit:g} times its short side"
        raise UnwantedPictureError("too_elongated", message, decoded)
    if policy.animated == "drop" and decoded.frames > 1:
        raise UnwantedPictureError("animated", f"{decoded.frames} frames", decoded)


def _check_resized(decoded: Decoded, policy: Policy) -> None:
    """The short side of a line of pixels, made larger, would fill the memory with the long one."""
    if policy.image_size is None or not _is_resized(decoded.image, policy):
        return
    width, height = _scaled_size(decoded.image, policy)
    if policy.resize_mode == "border":
        width = height = policy.image_size
    limit = max(policy.max_pixels, MAX_PIXELS)
    if width * height > limit:
        message = f"{width} x {height} pixels when resized are more than the limit of {limit}"
        raise UnwantedPictureError("too_large", message, decoded)


def resize(image: Image.Image, policy: Policy) -> Image.Image:
    """A picture at the size that the policy asks for; the very same object where it has that."""
    size, mode = policy.image_size, policy.resize_mode
    if size is None or not _is_resized(image, policy):
        return image
    width, height = _scaled_size(image, policy)
    image = _scale(image, (width, height))
    if mode == "center_crop":
        left, top = (width - size) // 2, (height - size) // 2
        return image.crop((left, top, left + size, top + size))
    if mode == "border":
        square = Image.new("RGB", (size, size), (255, 255, 255))
        square.paste(image, ((size - width) // 2, (size - height) // 2))
        return square
    return image


def _scaled_size(image: Image.Image, policy: Policy) -> tuple[int, int]:
    """Width and height before anything is cropped or added."""
    size, mode = policy.image_size or 0, policy.resize_mode
    if mode == "squash":
        return size, size
    of = max(image.size) if mode in _LONG_SIDE_MODES else min(image.size)
    width, height = (max(1, round(side * size / of)) for side in image.size)
    return width, height


def _is_resized(image: Image.Image, policy: Policy) -> bool:
    size, mode = policy.image_size or 0, policy.resize_mode
    of = max(image.size) if mode in _LONG_SIDE_MODES else min(image.size)
    makes_squares = mode in ("center_crop", "border", "squash")
    is_right = image.size == (size, size) if makes_squares else of == size
    fits = of >= size if makes_squares else of > size
    return not is_right and (fits or policy.enlarge)


def _scale(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def _encode(image: Image.Image, file_format: str, quality: int) -> bytes:
    image.info.clear()  # no EXIF, profile or transparency of the source may come along
    buffer = io.BytesIO()
    image.save(buffer, file_format, quality=quality)
    return buffer.getvalue()
