"""The glossary: every named tensor that passes between data, model, sources and objectives.

Letters: B local batch (this rank), G global batch (all ranks), D embedding, H hard captions,
K captions, N image tokens, L text tokens, V vocabulary, M further texts of a batch.

A signal X of one row a sample has a form `all_X` [G, ...], rank by rank, which `sources.Gather`
provides for any of them. A teacher or momentum encoder NAME provides `NAME_image` and `NAME_text`.
"""

from collections.abc import Mapping
from typing import TypedDict, cast

from torch import Tensor


class Signals(TypedDict, total=False):
    """What a step knows. Features are float32 and of unit length whatever the precision."""

    # from the data
    pixels: Tensor  # [B, 3, H, W] uint8
    tokens: Tensor  # [B, L] int64, the drawn caption, cut at the longest text where that is exact
    sample_id: Tensor  # [B] int64, the sample's number in the data set, the same in every epoch
    caption_id: Tensor  # [B] int64, hash of the drawn caption
    image_id: Tensor  # [B] int64, hash of the picture's bytes
    hard_mask: Tensor  # [B, H] bool, which hard captions there are
    counter_mask: Tensor  # [B] bool, which samples have a counterfactual
    number_mask: Tensor  # [B, 8] bool, which samples have captions with the wrong numbers
    more_mask: Tensor  # [B, K - 1] bool, all true
    extra_tokens: Tensor  # [M, L] int64, all further texts of the batch that there are
    extra_place: Tensor  # [M] int64, where each belongs, see `data.texts.pack`
    step: Tensor  # [] int64 on the CPU, the optimizer step
    # from the model
    image: Tensor  # [B, D]
    text: Tensor  # [B, D]
    scale: Tensor  # [] inverse temperature, exp(logit_scale)
    bias: Tensor  # [] added to scaled similarities
    hard_text: Tensor  # [B, H, D], zero where masked
    counter_text: Tensor  # [B, D], zero where masked: the caption with another number
    number_text: Tensor  # [B, 8, D], zero where masked: the caption with each wrong number
    texts: Tensor  # [B, K, D], all drawn captions, the first is `text`
    caption_logits: Tensor  # [B, L - 1, V], position t scores what follows the first t + 1 tokens
    caption_ids: Tensor  # [B, L - 1] int64, what does follow
    # from sources.Teacher, sources.Momentum or a sidecar, with their names
    teacher_image: Tensor  # [B, D'], without gradient
    teacher_text: Tensor  # [B, D'], without gradient
    # from sources.Gather
    all_image: Tensor  # [G, D]
    all_text: Tensor  # [G, D]
    targets: Tensor  # [B] int64, the row of all_image and all_text that is one's own


HARD, COUNTER, NUMBER, MORE = "hard", "counter", "number", "more"  # kinds of further texts
WRONG_NUMBERS = 8  # of the nine numbers two to ten
# the signal that each kind becomes
TEXT_SIGNALS = {HARD: "hard_text", COUNTER: "counter_text", NUMBER: "number_text", MORE: "texts"}

# What a person does to have a signal that nothing provides; the key is the signal or its last part.
_REMEDIES = {
    "hard_text": "`data.sources.NAME.sidecars: [negatives]` provides it",
    "counter_text": "`data.sources.NAME.sidecars: [counts]` provides it",
    "number_text": "`data.sources.NAME.sidecars: [counts]` provides it",
    "texts": "`data.texts.captions` of 2 or more provides it",
    "bias": "a model with `init_logit_bias` provides it, e.g. `model.init_logit_bias: -10`",
    "caption_logits": "a model with a captioning decoder provides it: a CoCa architecture, or "
    "`model.captioner` on a tower that gives tokens (open_clip's own ViT with a causal text tower)",
    "sample_id": "an indexed data set provides it (`python -m data_tools index`)",
}
_REMEDIES["caption_ids"] = _REMEDIES["caption_logits"]
_REMEDIES["hard_mask"] = _REMEDIES["hard_text"]
_REMEDIES["counter_mask"] = _REMEDIES["counter_text"]
_REMEDIES["number_mask"] = _REMEDIES["number_text"]


def remedy(signal: str) -> str:
    """What would provide a signal, as an addition to an error message."""
    name = signal.removeprefix("all_")
    if name in _REMEDIES:
        return _REMEDIES[name]
    owner, _, what = name.rpartition("_")
    if owner and what in ("image", "text"):
        return f"an entry {owner!r} under `teachers` provides it, or a sidecar of that name"
    return "nothing in vlp provides it; is the name right?"


def as_signals(values: Mapping[str, Tensor]) -> Signals:
    """A plain mapping of tensors as `Signals`; the only cast of this kind."""
    return cast(Signals, dict(values))


def get(signals: Signals, name: str) -> Tensor:
    """A signal by a name that is known at run time only."""
    return cast(dict[str, Tensor], signals)[name]


def of_all(signals: Signals, name: str) -> Tensor:
    """`all_NAME`; NAME itself where a mapping is a whole batch and nothing was gathered.

    In a run `needs` has it gathered; a loss that is called on its own needs no copy of a signal.
    """
    values = cast(dict[str, Tensor], signals)
    gathered = f"all_{name}"
    return values[gathered] if gathered in values else values[name]
