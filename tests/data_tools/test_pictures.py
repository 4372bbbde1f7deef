"""Which pictures are kept byte for byte, and what the others become."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data_tools.building.pictures import Policy, store
from tests.data_tools.conftest import jpeg
from vlp.data.images import UnreadableImageError


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def bomb(side: int) -> bytes:
    """A PNG of a hundred bytes whose header promises side x side pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"0" * 99))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("data", "extension"),
    [
        (jpeg(0), "jpg"),
        (encoded(NOISE.convert("L"), "JPEG"), "jpg"),
        (encoded(NOISE, "PNG"), "png"),
        (encoded(NOISE.convert("P"), "PNG"), "png"),
        (encoded(NOISE, "WEBP", lossless=True), "webp"),
    ],
)
def test_plain_pictures_are_kept_byte_for_byte(data: bytes, extension: str) -> None:
    stored = store(data, Policy())
    assert stored.data == data
    assert stored.verbatim
    assert stored.extension == extension
    assert (stored.width, stored.height) == (24, 16)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_becomes_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0)).convert(mode)
    image.putalpha(0)
    stored = store(encoded(image, "PNG"), Policy())
    assert (pixels(stored.data) == 255).all()
    assert (stored.extension, stored.source_mode, stored.verbatim) == ("png", mode, False)


def test_a_transparent_palette_becomes_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    stored = store(encoded(image, "PNG", transparency=1), Policy())
    assert (pixels(stored.data) == 255).all()


def test_sixteen_bits_are_scaled() -> None:
    image = Image.fromarray(np.full((8, 8), 30_000, dtype=np.uint16))
    stored = store(encoded(image, "PNG"), Policy())
    assert (pixels(stored.data) == round(30_000 / 65_535 * 255)).all()


def test_cmyk_becomes_an_rgb_jpeg() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    stored = store(encoded(image, "JPEG", quality=100), Policy())
    assert (stored.extension, stored.source_mode) == ("jpg", "CMYK")
    red, green, blue = pixels(stored.data)[8, 8]
    assert red > 200
    assert green < 50
    assert blue < 50


def test_a_turned_picture_is_stored_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = store(jpeg(0, exif=exif.tobytes()), Policy())
    assert (stored.width, stored.height) == (16, 24)
    again = Image.open(io.BytesIO(stored.data))
    assert again.size == (16, 24)
    assert not again.getexif()


def test_an_animation_becomes_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    stored = store(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), Policy())
    assert (stored.extension, stored.frames) == ("png", 2)
    assert tuple(pixels(stored.data)[0, 0]) == (255, 0, 0)


def test_other_formats_become_png_without_loss() -> None:
    stored = store(encoded(NOISE, "BMP"), Policy())
    assert stored.extension == "png"
    assert (pixels(stored.data) == np.asarray(NOISE)).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html></html>", "UnidentifiedImageError"),
        (jpeg(0)[:-200], "truncated"),
        (bomb(10_001), "10001 x 10001 pixels are more than the limit"),
        (bomb(30_000), "exceeds limit"),
    ],
)
def test_unreadable_pictures_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        store(data, Policy())


def test_the_short_side_shrinks_and_never_grows() -> None:
    stored = store(jpeg(0, (90, 60)), Policy(image_size=30))
    assert (stored.width, stored.height) == (45, 30)
    assert (stored.original_width, stored.original_height) == (90, 60)
    assert Image.open(io.BytesIO(stored.data)).size == (45, 30)
    small = jpeg(0, (90, 60))
    assert store(small, Policy(image_size=60)).data == small
    assert store(small, Policy(image_size=100)).data == small
    assert store(jpeg(0, (2000, 2)), Policy(image_size=1)).height == 1
