"""One image policy: the fast path equals the careful one, and odd pictures are read right."""

import io

import numpy as np
import pytest
from PIL import Image

from vlp.data.images import MAX_PIXELS, UnreadableImageError, check_shape, decode, decode_rgb

NOISE = np.random.default_rng(0).integers(0, 255, (33, 47, 3), dtype=np.uint8)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_fast_path_has_pillows_pixels(subsampling: int, progressive: bool, mode: str) -> None:
    image = Image.fromarray(NOISE).resize((131, 95)).convert(mode)
    data = encoded(image, "JPEG", subsampling=subsampling, progressive=progressive)
    assert np.array_equal(decode_rgb(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_both_paths_agree(file_format: str) -> None:
    data = encoded(Image.fromarray(NOISE), file_format)
    assert np.array_equal(decode_rgb(data), np.asarray(decode(data).image))


@pytest.mark.parametrize("padding", [b"", b"x" * 9000])
def test_a_turned_jpeg_is_upright_wherever_its_exif_stands(padding: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(NOISE), "JPEG", exif=exif.tobytes())
    comment = b"\xff\xfe" + (len(padding) + 2).to_bytes(2, "big") + padding
    data = data[:2] + comment + data[2:]
    assert decode_rgb(data).shape == (47, 33, 3)
    assert decode(data).changed


def test_cmyk_takes_the_careful_path() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG")
    red, green, blue = decode_rgb(data)[8, 8]
    assert red < 60
    assert min(green, blue) > 150


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_hidden_colours_do_not_show(mode: str) -> None:
    if mode == "P":
        image = Image.new("P", (4, 4), 1)
        image.putpalette([0, 0, 0, 255, 0, 0])
        data = encoded(image, "PNG", transparency=1)
    else:
        image = Image.new(mode, (4, 4))
        data = encoded(image, "PNG")
    decoded = decode(data)
    assert decoded.changed
    assert (np.asarray(decoded.image) == 255).all()


def test_sixteen_bit_grey_is_scaled() -> None:
    ramp = np.array([[0, 30_000, 65_535]], dtype=np.uint16)
    data = encoded(Image.fromarray(ramp), "PNG")
    assert np.asarray(decode(data).image)[0, :, 0].tolist() == [0, 117, 255]


def test_too_many_pixels_are_refused_before_decoding() -> None:
    data = encoded(Image.fromarray(NOISE), "PNG")
    with pytest.raises(
        UnreadableImageError, match="47 x 33 pixels are more than the limit of 1000"
    ):
        decode(data, max_pixels=1000)


@pytest.mark.parametrize("side", [64, 224])
def test_narrow_pictures_are_refused_by_what_they_become(side: int) -> None:
    """With the short side resized to a model's, they have as many pixels as any picture may."""
    most = MAX_PIXELS // side**2
    for size in ((1, most), (2 * most, 2), (300, 300)):
        check_shape(Image.new("1", size), (side, side // 2))
    for size in ((1, most + 1), (2 * most + 2, 2)):
        with pytest.raises(UnreadableImageError, match=f"{size[0]} x {size[1]} pixels: far too"):
            check_shape(Image.new("1", size), (side, side // 2))


@pytest.mark.parametrize("keep", [0, 1, 20, 700])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_cut_pictures_are_refused_on_both_paths(file_format: str, keep: int) -> None:
    data = encoded(Image.fromarray(NOISE), file_format)[:keep]
    for read in (decode, decode_rgb):
        with pytest.raises(UnreadableImageError):
            read(data)


def test_a_jpeg_that_xmp_alone_turns_is_upright() -> None:
    packet = b'http://ns.adobe.com/xap/1.0/\0<rdf:Description tiff:Orientation="6"/>'
    data = encoded(Image.fromarray(NOISE), "JPEG")
    data = data[:2] + b"\xff\xe1" + (len(packet) + 2).to_bytes(2, "big") + packet + data[2:]
    assert decode_rgb(data).shape == (47, 33, 3)
    assert np.array_equal(decode_rgb(data), np.asarray(decode(data).image))
