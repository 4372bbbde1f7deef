"""Image bytes to RGB pixels, by one policy for building, training and evaluation.

| source | result |
|---|---|
| orientation in EXIF or XMP | applied |
| alpha, `LA`, palette with transparency | composited on white (`convert` reveals hidden colours) |
| 16-bit grey | scaled to 8 bits (`convert` clips everything above 255) |
| CMYK, YCbCr, Lab, grey, palette | converted to RGB |
| animation | first frame |
| more pixels than `max_pixels` | refused from the header, before anything is decoded |
| a JPEG of hundreds of scans, each of which takes as long as a picture | refused |
| EPS, WMF and other formats that are programs or documents | refused: Pillow would run them |
"""

import io
import re
import struct
import warnings
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

MAX_PIXELS = 100_000_000
FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}  # what a shard may hold
_READABLE = (
    *FORMATS,
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG2000", "MPO", "PCX", "PPM", "PSD", "QOI", "SGI"),
    *("TGA", "TIFF"),
)
_ICON = b"\0\0\1\0"
_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112
_SCAN = b"\xff\xda\0"  # start of a scan in a JPEG
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)  # start of such a frame
_BEFORE_FRAME = (0xC4, 0xC8, 0xCC, *range(0xDB, 0xFF))  # tables, applications' data, comments
_MOST_SCANS = 100  # of a JPEG; progressive ones have about ten
_MOST_FRAMES = 2**31 - 1  # an animated PNG may claim more than 32 bits hold
_STRIP = 1 << 24  # pixels converted at a time: floats and copies are far larger
_METADATA = (b"Exif\0", b"http://ns.adobe.com/xap/")  # either may say that a picture is turned


class UnreadableImageError(ValueError):
    """Bytes that are no readable picture, and why."""


@dataclass(frozen=True)
class Decoded:
    """A picture as RGB, and what had to be done to it."""

    image: Image.Image  # mode RGB, upright
    format: str  # Pillow's name of the source format
    source_mode: str
    frames: int
    changed: bool  # True when the source's own pixels, shown naively, would look different


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a picture fully by the table above.

    Raises:
        UnreadableImageError: not a picture, truncated, or larger than `max_pixels`.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bad metadata, mostly: they name no picture
            _check_icon(data, max_pixels)
            image = Image.open(io.BytesIO(data))
            if image.format not in _READABLE:
                raise UnreadableImageError(f"the format {image.format} is not read")
            _check_size(*image.size, max_pixels)
            if image.format in ("JPEG", "MPO") and _has_many_scans(data):
                raise UnreadableImageError(f"more than {_MOST_SCANS} scans, which no picture needs")
            mode, file_format = image.mode, image.format or "unknown"
            frames = min(int(getattr(image, "n_frames", 1)), _MOST_FRAMES)
            turned = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
            image.load()
            if turned:
                ImageOps.exif_transpose(image, in_place=True)
    except UnreadableImageError:
        raise
    except Exception as error:  # Pillow's decoders raise anything from SyntaxError to struct.error
        # Pillow names the file object, whose address is another in every run
        reason = re.sub(r" ?<_io.BytesIO object at 0x\w+>", "", str(error))
        raise UnreadableImageError(f"{type(error).__name__}: {reason}") from error
    is_rgb = image.mode == "RGB" and file_format in FORMATS and not _transparent(image)
    rgb = image if is_rgb and not turned else _to_rgb(image)
    changed = turned or frames > 1 or mode not in ("RGB", "L", "P", "1") or _transparent(image)
    return Decoded(rgb, file_format, mode, frames, changed)


def to_rgb(image: Image.Image, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A picture that is already open, by the same table; the given one stays as it is.

    Raises:
        UnreadableImageError: truncated, larger than `max_pixels`, or of a format that is not read.
    """
    if image.format not in (None, *_READABLE):
        raise UnreadableImageError(f"the format {image.format} is not read")
    _check_size(*image.size, max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            image = ImageOps.exif_transpose(image)
    except Exception as error:  # as in `decode`
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from error
    return image if image.mode == "RGB" and not _transparent(image) else _to_rgb(image)


def check_shape(image: Image.Image, size: tuple[int, int]) -> None:
    """Refuse what fills the memory when its short side is resized to a model's.

    Args:
        size: (height, width) in pixels that the model takes.

    Raises:
        UnreadableImageError: the resized picture would have more than `MAX_PIXELS`.
    """
    short, long = sorted(image.size)
    if long * max(size) ** 2 > MAX_PIXELS * short:
        raise UnreadableImageError(f"{image.width} x {image.height} pixels: far too narrow")


def _check_icon(data: bytes, max_pixels: int) -> None:
    """Pillow decodes an icon when it opens it; the PNGs inside say how large they are."""
    if data.startswith(_ICON):
        starts = [match.end() + 8 for match in re.finditer(re.escape(_PNG), data)]
        for at in starts:
            if at + 8 <= len(data):
                width, height = struct.unpack_from(">II", data, at)
                _check_size(width, height, max_pixels)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnreadableImageError(
            f"{width} x {height} pixels are more than the limit of {max_pixels}"
        )


def _has_many_scans(data: bytes) -> bool:
    """Whether decoding a progressive JPEG takes as long as decoding hundreds of pictures."""
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data) and data[at + 1] in _BEFORE_FRAME:
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    marker = data[at : at + 2]
    if b"\xff\xc0" <= marker <= b"\xff\xcf" and marker[1] not in _PROGRESSIVE:
        return False
    return data.count(_SCAN) > _MOST_SCANS  # which takes long


def decode_rgb(data: bytes) -> np.ndarray:
    """RGB pixels [H, W, 3] uint8 of a picture; the fast path of training.

    Plain JPEGs without EXIF and XMP go through simplejpeg, whose pixels equal Pillow's; everything
    else through `decode`.
    """
    if data[:2] == b"\xff\xd8" and not any(mark in data for mark in _METADATA):
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            is_sound = height * width <= MAX_PIXELS and not _has_many_scans(data)
            if colours in ("YCbCr", "RGB", "Gray", "GRAY") and is_sound:
                pixels: np.ndarray = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
                return pixels
        except ValueError:
            pass  # Pillow says what is wrong with it, or reads what simplejpeg does not
    return np.asarray(decode(data).image)


def _transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _to_rgb(image: Image.Image) -> Image.Image:
    top = 65535.0  # the value that is white, where there are more than 8 bits
    if image.mode == "F" and not np.asarray(image).max(initial=0.0) > 255.0:
        top = 255.0
    width, height = image.size
    if width * height <= _STRIP:
        return _part_to_rgb(image, top)
    rgb = Image.new("RGB", image.size)
    rows = max(1, _STRIP // width)
    for begin in range(0, height, rows):
        part = image.crop((0, begin, width, min(begin + rows, height)))
        rgb.paste(_part_to_rgb(part, top), (0, begin))
    return rgb


def _part_to_rgb(image: Image.Image, top: float) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        scaled = np.clip(values * (255.0 / top) + 0.5, 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if _transparent(image):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
