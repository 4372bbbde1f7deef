"""A model's tokenizer as `tokenizer.json`, the format of the `tokenizers` library.

It gives the ids that the tower reads: cleaned, with start and end, cut at the context length so
that the end stays. See `vlp.export.cleaning` for what such a file cannot do.
"""

from dataclasses import dataclass
from typing import Any

from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from vlp.encoder import BaseEncoder, Encoder
from vlp.errors import InputError
from vlp.export import cleaning
from vlp.interop.huggingface import SIGLIP, HuggingFaceEncoder
from vlp.model.tokens import Tokenizer as OpenClipTokenizer

# as open_clip's pattern, which ignores case
_PIECES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_SUFFIX = "</w>"
PROBE = (
    "a photo of two dogs",
    "A Photo of TWO Dogs!",
    "",
    "   spaces \t and\nlines  ",
    "naïve café, ünder 你好 👍 _x-y/z",
    "it's 1234.50 “quoted” ﬁne ＦＵＬＬ",
    "e\u0301 composed, \x07control",
    "they're the dogs' toys... (3x)",
    "word " * 300,
)


@dataclass(frozen=True)
class WrittenTokenizer:
    """A tokenizer that neither pads nor cuts by itself, and what it would do so with."""

    tokenizer: Tokenizer
    pad_id: int  # of the tower's padding
    length: int  # tokens

    def token(self, number: int) -> str:
        """The text of an id."""
        found: str | None = self.tokenizer.id_to_token(number)
        if found is None:
            raise InputError(f"its tokenizer has no token of id {number}")
        return found

    @property
    def fixed(self) -> Tokenizer:
        """The tokenizer with padding and cutting to the context length."""
        made = Tokenizer.from_str(self.tokenizer.to_str())
        pad = self.token(self.pad_id)
        made.enable_padding(length=self.length, pad_id=self.pad_id, pad_token=pad)
        made.enable_truncation(self.length)
        return made


def write_tokenizer(encoder: BaseEncoder) -> WrittenTokenizer:
    """The tokenizer of an encoder.

    Raises:
        InputError: it cannot be expressed; the message says why.
    """
    if isinstance(encoder, HuggingFaceEncoder):
        made = _of_huggingface(encoder)
    elif isinstance(encoder, Encoder):
        made = of_open_clip(encoder.tokenizer, encoder.context_length)
    else:
        raise InputError(f"a {type(encoder).__name__} has no tokenizer that is known here")
    _check(made, encoder)
    return made


def of_open_clip(tokenizer: OpenClipTokenizer, length: int) -> WrittenTokenizer:
    """The same for a tokenizer of open_clip, without comparing ids.

    Args:
        tokenizer: as a model has it.
        length: the context length.
    """
    inner: Any = tokenizer.tokenizer
    if isinstance(inner, SimpleTokenizer):
        return WrittenTokenizer(_of_simple(inner), 0, length)
    if isinstance(inner, HFTokenizer):
        return WrittenTokenizer(_of_wrapped(inner), tokenizer.pad_id, length)
    raise InputError(f"its tokenizer is a {type(inner).__name__}, which has no tokenizer.json")


def _of_simple(inner: SimpleTokenizer) -> Tokenizer:
    """CLIP's byte pairs (Radford et al. 2021; Sennrich et al. 2016)."""
    if inner.reduction_fn is not None:
        raise InputError("its tokenizer drops tokens of long texts at random (reduction_mask)")
    merges = sorted(inner.bpe_ranks, key=inner.bpe_ranks.__getitem__)
    made = Tokenizer(models.BPE(vocab=inner.encoder, merges=merges, end_of_word_suffix=_SUFFIX))
    made.normalizer = cleaning.normalizer(_kind(inner))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    names = [inner.decoder[i] for i in inner.all_special_ids]
    made.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    start, end = (inner.decoder[i] for i in (inner.sot_token_id, inner.eot_token_id))
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, inner.sot_token_id), (end, inner.eot_token_id)],
    )
    made.decoder = decoders.ByteLevel()
    return made


def _of_wrapped(inner: HFTokenizer) -> Tokenizer:
    for name, value in (
        ("tokenizer_mode", inner.tokenizer_mode),
        ("strip_sep_token", inner.strip_sep_token),
    ):
        if value:
            raise InputError(f"its tokenizer has {name} {value!r}, which tokenizer.json has not")
    return _cleaned(_fast(inner.tokenizer), cleaning.normalizer(_kind(inner)))


def _of_huggingface(encoder: HuggingFaceEncoder) -> WrittenTokenizer:
    made = _fast(encoder.tokenizer)
    if encoder.family == SIGLIP:
        made = _cleaned(made, normalizers.Lowercase())
    pad = encoder.tokenizer.pad_token_id
    if pad is None:
        raise InputError("its tokenizer has no padding")
    return WrittenTokenizer(made, int(pad), encoder.context_length)


def _fast(tokenizer: Any) -> Tokenizer:  # noqa: ANN401 (of transformers)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        kind = type(tokenizer).__name__
        raise InputError(f"its tokenizer {kind} has no tokenizer.json: it is no fast tokenizer")
    made = Tokenizer.from_str(backend.to_str())
    made.no_padding()
    made.no_truncation()
    return made


def _cleaned(made: Tokenizer, before: normalizers.Normalizer) -> Tokenizer:
    own = made.normalizer
    made.normalizer = before if own is None else normalizers.Sequence([before, own])
    return made


def _kind(inner: Any) -> str:  # noqa: ANN401 (open_clip's tokenizers share no class)
    kind = cleaning.kind_of(inner.clean_fn)
    if kind is None:
        raise InputError("its tokenizer cleans texts in a way of its own")
    return kind


def _check(made: WrittenTokenizer, encoder: BaseEncoder) -> None:
    """Refuse a tokenizer that gives other ids than the encoder's own."""
    fixed = made.fixed
    for text in PROBE:
        expected = encoder._ids([text])[0]
        found = fixed.encode(text).ids[: len(expected)]
        if found != expected:
            raise InputError(
                f"its tokenizer cannot be written as tokenizer.json: of {text[:40]!r} it would "
                f"make {found[:8]}, and not {expected[:8]}"
            )
