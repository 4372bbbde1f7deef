"""Conditions that others have filtered by.

`datacomp-basic` is the basic filtering of DataComp (Gadre et al., 2023), `clip-top30` its best
threshold on the CLIP score, `laion2b` the rule of LAION-2B (Schuhmann et al., 2022). They differ
from the originals in the detector of languages: DataComp takes fastText lid.176, LAION gcld3.
"""

from dataclasses import dataclass
from types import MappingProxyType

_SHORT, _LONG = (f"{side}(original_width, original_height)" for side in ("least", "greatest"))


@dataclass(frozen=True)
class Preset:
    """Conditions joined by AND, and a share of the largest; {scores} is a sidecar's name."""

    where: str | None = None
    top: str | None = None  # COLUMN:FRACTION


PRESETS = MappingProxyType(
    {
        "datacomp-basic": Preset(
            f"language = 'en' AND words > 2 AND chars > 5 AND {_SHORT} >= 200 "
            f"AND {_LONG} / {_SHORT} <= 3"
        ),
        "clip-top30": Preset(top='"{scores}".clip_score:0.3'),
        "laion2b": Preset("\"{scores}\".clip_score >= 0.28 AND language = 'en'"),
    }
)
