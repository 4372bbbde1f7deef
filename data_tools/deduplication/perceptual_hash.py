"""A 64-bit perceptual hash of a picture, after Zauner 2010 ("Implementation and Benchmarking of
Perceptual Image Hash Functions", the DCT based hash).

The luma is averaged down to 32 x 32 and transformed by a DCT-II; bit (i, j) says whether the
coefficient of vertical frequency i and horizontal frequency j, both from 1 to 8, is above the
median of these 64. Colour, brightness and size are not in it: pictures that are flat, or that
differ in colour alone, have close hashes.
"""

import math

import numpy as np
from PIL import Image

from vlp.data.images import decode_rgb

_SIDE, _FREQUENCIES = 32, 8
_DECIMALS = 3  # of a coefficient of luma 0 to 255: what lies below is the arithmetic's own noise


def _basis() -> np.ndarray:
    """Rows 1 to 8 of the orthonormal DCT-II of length 32, [8, 32]."""
    frequency = np.arange(1, _FREQUENCIES + 1)[:, None]
    place = np.arange(_SIDE)[None] + 0.5
    rows: np.ndarray = math.sqrt(2 / _SIDE) * np.cos(math.pi / _SIDE * frequency * place)
    return rows


_BASIS = _basis()


def perceptual_hash(data: bytes) -> int:
    """The hash of a picture's bytes; the highest bit is (1, 1), the lowest (8, 8).

    Raises:
        UnreadableImageError: it cannot be decoded.
    """
    grey = Image.fromarray(decode_rgb(data)).convert("L")  # luma of ITU-R 601
    luma = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), dtype=np.float64)
    coefficients = np.round(_BASIS @ luma @ _BASIS.T, _DECIMALS)  # [8, 8]
    bits = coefficients > np.median(coefficients)
    return int.from_bytes(np.packbits(bits).tobytes())
