"""The captions of a sample that are read for numbers."""

from typing import Literal

from data_tools.counting.claims import Parsed, parse
from vlp.data.source import RawSample

CaptionChoice = Literal["first", "all"]


def read_captions(sample: RawSample, choice: CaptionChoice) -> list[tuple[int, str, Parsed]]:
    """(place, caption, what it counts) of the source caption, or of all captions of a sample.

    Raises:
        UnusableSampleError: it has none.
    """
    own = sample.captions()
    chosen = own[:1] if choice == "first" else own
    return [(place, text, parse(text)) for place, text in enumerate(chosen)]
