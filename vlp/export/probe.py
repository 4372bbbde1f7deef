"""What an export is checked with: pictures and texts, and how far features may be apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlp.encoder import BaseEncoder
from vlp.errors import RunError

MOST = 1e-4  # between our features and those of another library, in float32
TEXTS = (
    "a photo of a dog",
    "A Photo of TWO Dogs, playing on the beach!",
    "three red circles to the left of a blue square",
    "",
    "café, naïve & it's 10 o'clock",
    "  white \n space  ",
    "a very long caption that goes on and on about everything in the picture " * 20,
)


@dataclass(frozen=True)
class Checked:
    """What an export was found to be like."""

    largest: float  # difference of a feature, of the same pixels and texts
    lines: list[str] = field(default_factory=list)  # further measurements, for people
    notes: list[str] = field(default_factory=list)  # what the format does not carry


def pixels(encoder: BaseEncoder) -> Tensor:
    """[6, 3, H, W] uint8 as `preprocess` gives them: noise, smooth colours, black and white."""
    generator = torch.Generator().manual_seed(0)
    height, width = encoder.image_size
    noise = torch.randint(0, 256, (2, 3, height, width), generator=generator, dtype=torch.uint8)
    coarse = torch.rand(2, 3, 3, 3, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    plain = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    plain[1] = 255
    return torch.cat([noise, smooth.to(torch.uint8), plain])


def pictures(sizes: Sequence[tuple[int, int]]) -> list[Image.Image]:
    """Smooth pictures with some noise, one of each (width, height)."""
    generator = np.random.default_rng(0)
    found = []
    for width, height in sizes:
        coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        noise = generator.integers(-20, 20, (height, width, 3))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=int)
        found.append(Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)))
    return found


def difference(ours: Tensor, theirs: Tensor, what: str) -> float:
    """The largest difference of a feature.

    Raises:
        RunError: it is above what is allowed, or is no number.
    """
    if ours.shape != theirs.shape:
        raise RunError(f"{what} have shape {list(theirs.shape)}, and ours {list(ours.shape)}")
    largest = float((ours.cpu().double() - theirs.cpu().double()).abs().max())
    if not largest <= MOST:
        raise RunError(
            f"{what} differ from ours by up to {largest:.1e}, more than {MOST:.0e}: the export "
            "would be wrong, and is not written"
        )
    return largest
