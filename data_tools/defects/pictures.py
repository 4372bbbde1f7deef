"""Pictures: what their first bytes and headers tell, and whether they decode."""

import io
import warnings
from collections.abc import Iterator

import simplejpeg
from PIL import Image, UnidentifiedImageError

from data_tools.defects.names import Problem
from vlp.data.images import FORMATS, UnreadableImageError, decode

# no others: Pillow would, for instance, run Ghostscript for the PostScript of a `.jpg`
_READ = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_ORIENTATION = 0x0112
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\x1f\x8b", "gzip"),
)
_DAMAGE = ("Corrupt JPEG data", "Premature end")
_EXTENSIONS = {"jpeg": "jpg"}


def sniff(data: bytes) -> str:
    """What bytes are by their beginning: a format's name, 'HTML', or '' for what is not known."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return "AVIF or HEIC"
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    return "HTML" if data[:512].lstrip().lower().startswith((b"<!doctype", b"<html")) else ""


def right_extension(extension: str, data: bytes) -> str:
    """The extension that a picture's content asks for, where shards have one for it."""
    wanted = FORMATS.get(sniff(data))
    return extension if wanted in (None, _EXTENSIONS.get(extension, extension)) else str(wanted)


def check_picture(extension: str, data: bytes, max_pixels: int, full: bool) -> Iterator[Problem]:
    """What is wrong with a picture.

    Args:
        extension: of its member, one of those that readers take.
        full: decode it; otherwise its header alone is read.
    """
    if not data:
        yield Problem("IMAGE_EMPTY", f".{extension} has 0 bytes")
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=_READ)
            found = list(_told_by_header(extension, data, image, max_pixels))
    except UnidentifiedImageError:
        yield _unidentified(extension, data)
        return
    except Image.DecompressionBombError as error:
        yield Problem("IMAGE_TOO_LARGE", f".{extension}: {error}")
        return
    except Exception as error:  # Pillow's parsers raise anything
        yield Problem("IMAGE_UNREADABLE", f".{extension}: {type(error).__name__}: {error}")
        return
    yield from found
    if full and not any(problem.code == "IMAGE_TOO_LARGE" for problem in found):
        yield from _decoded(extension, data, max_pixels)


def _unidentified(extension: str, data: bytes) -> Problem:
    kind = sniff(data)
    if kind in _READ:
        return Problem("IMAGE_UNREADABLE", f".{extension}: a {kind} whose header is damaged")
    return Problem("IMAGE_NOT_A_PICTURE", f".{extension} is {kind or f'unknown: {data[:16]!r}'}")


def _told_by_header(
    extension: str, data: bytes, image: Image.Image, max_pixels: int
) -> Iterator[Problem]:
    pixels = image.width * image.height
    if pixels > max_pixels:
        size = f"{image.width} x {image.height} pixels"
        yield Problem("IMAGE_TOO_LARGE", f".{extension}: {size}, limit {max_pixels:,} in all")
        return
    actual = "JPEG" if image.format == "MPO" else image.format
    if FORMATS.get(str(actual)) != _EXTENSIONS.get(extension, extension):
        yield Problem("IMAGE_WRONG_EXTENSION", f".{extension} is a {actual}")
    # Pillow decodes a PNG to look for EXIF behind its pixels
    if image.format != "PNG" or "exif" in image.info:
        orientation = image.getexif().get(_ORIENTATION, 1)
        if orientation not in (0, 1):
            yield Problem("IMAGE_ORIENTATION", f".{extension}: EXIF orientation {orientation}")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        yield Problem("IMAGE_ALPHA", f".{extension}: mode {image.mode}")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        yield Problem("IMAGE_16_BIT", f".{extension}: mode {image.mode}")
    if image.mode == "CMYK":
        yield Problem("IMAGE_CMYK", f".{extension}: mode {image.mode}")
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1:
        yield Problem("IMAGE_ANIMATED", f".{extension}: {frames} frames")


def _decoded(extension: str, data: bytes, max_pixels: int) -> Iterator[Problem]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of EXIF that is damaged and the like
            decode(data, max_pixels)
    except UnreadableImageError as error:
        code = "IMAGE_TRUNCATED" if "truncated" in str(error).lower() else "IMAGE_UNREADABLE"
        yield Problem(code, f".{extension}: {error}")
        return
    if sniff(data) == "JPEG" and (told := _told_by_libjpeg(data)):
        yield Problem("IMAGE_CORRUPT", f".{extension}: {told}")


def _told_by_libjpeg(data: bytes) -> str:
    """The decoder's own warning of damage, which Pillow passes over: it fills what is lost."""
    try:
        simplejpeg.decode_jpeg(data, strict=True)
    except ValueError as error:
        return str(error) if str(error).startswith(_DAMAGE) else ""
    return ""
