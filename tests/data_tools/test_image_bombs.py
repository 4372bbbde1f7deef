"""Small files that would become large, or run programs: refused before that happens."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data_tools.test_pictures import bomb, chunk, encoded
from vlp.data.images import UnreadableImageError, decode, decode_rgb

ZEROS = bytes(200 << 20)  # what 200 KiB of a compressed chunk become


def png_with(name: bytes, data: bytes) -> bytes:
    whole = encoded(Image.new("RGB", (4, 4)), "PNG")
    return whole[:33] + chunk(name, data) + whole[33:]


@pytest.mark.parametrize(
    ("name", "head"),
    [(b"iCCP", b"p\0\0"), (b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0")],
)
def test_a_compressed_chunk_is_not_unpacked_whole(name: bytes, head: bytes) -> None:
    data = png_with(name, head + zlib.compress(ZEROS, 9))
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableImageError, match="too large"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def icon(inner: bytes) -> bytes:
    """An icon of 16 x 16 pixels by its directory, with any picture inside."""
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inner


def test_a_picture_inside_an_icon_is_measured() -> None:
    with pytest.raises(UnreadableImageError, match="13000 x 13000 pixels are more than the limit"):
        decode(icon(bomb(13_000)))
    assert decode(icon(encoded(Image.new("RGBA", (16, 16), "red"), "PNG"))).image.size == (16, 16)


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
        + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2D\1\0;",
        b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
        + b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\2\2D\1\0;",
        b"BM" + struct.pack("<IHHI", 99, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0) + b"0" * 45,
        b"qoif" + struct.pack(">IIBB", 60_000, 60_000, 3, 0) + b"0" * 20,
    ],
    ids=["gif", "gif frame", "bmp", "qoi"],
)  # fmt: skip
def test_headers_of_other_formats_are_believed(data: bytes) -> None:
    with pytest.raises(UnreadableImageError, match="limit"):
        decode(data)


@pytest.mark.parametrize("file_format", ["TIFF", "WEBP"])
def test_real_pictures_over_the_limit(file_format: str) -> None:
    data = encoded(Image.new("RGB", (200, 100)), file_format)
    assert decode(data, 20_000).image.size == (200, 100)
    with pytest.raises(UnreadableImageError, match="200 x 100 pixels are more than the limit"):
        decode(data, 19_999)


def test_frames_are_counted_and_not_decoded() -> None:
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2D\1\0"
    first = encoded(Image.new("L", (300, 300)), "GIF")
    data = first[:-1] + frame * 19_999 + b";"
    started = time.perf_counter()
    assert decode(data).frames == 20_000
    assert time.perf_counter() - started < 5.0


def test_formats_that_are_programs_are_not_run() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "EPS")
    with pytest.raises(UnreadableImageError, match="the format EPS is not read"):
        decode(buffer.getvalue())


def many_scans(data: bytes, scans: int) -> bytes:
    """A progressive JPEG with its last scan repeated."""
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * scans + b"\xff\xd9"


def test_scans_that_are_repeated_are_not_decoded() -> None:
    data = encoded(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    assert decode(many_scans(data, 10)).image.size == (4000, 4000)
    for read in (decode, decode_rgb):
        started = time.perf_counter()
        with pytest.raises(UnreadableImageError, match="more than 100 scans"):
            read(many_scans(data, 2000))
        assert time.perf_counter() - started < 1.0


def test_what_looks_like_scans_behind_a_plain_jpeg_is_ignored() -> None:
    data = encoded(Image.new("RGB", (16, 16)), "JPEG") + b"\xff\xda\0" * 500
    assert decode(data).image.size == decode_rgb(data).shape[:2] == (16, 16)


def test_frames_that_are_only_claimed_fit_a_row() -> None:
    frames = chunk(b"acTL", struct.pack(">II", 0x80000000, 0))
    whole = encoded(Image.new("RGB", (4, 4)), "PNG")
    assert decode(whole[:33] + frames + whole[33:]).frames == 2**31 - 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "F", "P"])
def test_large_pictures_are_converted_in_strips_to_the_same_pixels(mode, monkeypatch) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (53, 41, 4), dtype=np.uint8)
    image = Image.fromarray(noise, "RGBA").convert(mode if mode in ("RGBA", "LA") else "L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(image).astype(np.float32) * 200)
    data = encoded(image.convert("P") if mode == "P" else image, "TIFF" if mode == "F" else "PNG")
    whole = decode(data).image.tobytes()
    monkeypatch.setattr("vlp.data.images._STRIP", 41 * 7)
    assert decode(data).image.tobytes() == whole


def test_bad_metadata_is_passed_over_in_silence(recwarn) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (4, 2)), "JPEG", exif=exif.tobytes())
    at = data.find(b"Exif\0\0") + 10
    decode(data[:at] + b"\x7f\xff\xff\xff" + data[at + 4 :])
    assert not recwarn.list
