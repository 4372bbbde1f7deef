"""What happens to a picture on its way into a shard: kept byte for byte, or encoded once."""

import io
from dataclasses import dataclass

from PIL import Image

from vlp.data.images import FORMATS, decode

_JPEG_SOURCES = ("JPEG", "MPO")
_JPEG_QUALITY = 95


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


def store(data: bytes, image_size: int | None) -> StoredPicture:
    """Check a picture by decoding it fully, and encode it again only where that is needed.

    It is needed for a smaller size, for a format that shards do not hold, and for a picture that
    readers would show differently (turned by EXIF, transparent, CMYK, 16 bits, animated).

    Args:
        image_size: largest short side in pixels; None keeps every size.

    Raises:
        UnreadableImageError: not a picture, cut, or far too large.
    """
    decoded = decode(data)
    image = _shrink(decoded.image, image_size)
    verbatim = not decoded.changed and decoded.format in FORMATS and image is decoded.image
    if verbatim:
        stored, extension = data, FORMATS[decoded.format]
    elif decoded.format in _JPEG_SOURCES:
        stored, extension = _encode(image, "JPEG"), "jpg"
    else:
        stored, extension = _encode(image, "PNG"), "png"
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


def _shrink(image: Image.Image, image_size: int | None) -> Image.Image:
    short = min(image.size)
    if image_size is None or short <= image_size:
        return image
    width, height = (max(1, round(side * image_size / short)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _encode(image: Image.Image, file_format: str) -> bytes:
    image.info.clear()  # no EXIF, profile or transparency of the source may come along
    buffer = io.BytesIO()
    image.save(buffer, file_format, quality=_JPEG_QUALITY)
    return buffer.getvalue()
