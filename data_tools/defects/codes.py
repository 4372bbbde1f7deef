"""Every defect that `validate` names: severity, the level that finds it, and what `repair` does.

An error is what makes a reader fail, lose data or pair a picture with another caption; a warning is
what a reader takes, though perhaps not as it was meant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Level = Literal["headers", "members", "decode"]
LEVELS: tuple[Level, ...] = ("headers", "members", "decode")


@dataclass(frozen=True)
class Code:
    """One kind of defect."""

    name: str
    severity: Literal["error", "warning"]
    level: Level  # the lowest that finds it
    meaning: str
    repair: str


_RESYNC = "goes on at the next header; the bytes between are counted as skipped"
_KEEP = "keeps it"
_DROP = "drops the sample"
_DROP_MEMBER = "drops the member"
_RENAME = "renames the members of the sample"
_ANEW = "writes it anew"
_FIX = "keeps it; --fix-text mends it"

_TAR = (
    Code("FILE_UNREADABLE", "error", "headers", "the file cannot be read", "fails"),
    Code("FILE_EMPTY", "error", "headers", "0 bytes", "writes an empty shard"),
    Code("NOT_A_TAR", "error", "headers", "holds no tar header", "writes an empty shard"),
    Code("TAR_GZIPPED", "error", "headers", "gzip; samples cannot be sought", "unpacks it"),
    Code("TAR_TRUNCATED", "error", "headers", "ends without an end mark", "keeps whole samples"),
    Code("TAR_CUT_IN_HEADER", "error", "headers", "ends inside a header", "keeps whole samples"),
    Code("TAR_CUT_IN_DATA", "error", "headers", "ends inside a member", "keeps whole samples"),
    Code("TAR_BAD_CHECKSUM", "error", "headers", "a damaged header", _RESYNC),
    Code("TAR_ZEROED_HEADER", "error", "headers", "zeros in the place of a header", _RESYNC),
    Code("TAR_BAD_EXTENSION", "error", "headers", "a damaged header of a long name", _RESYNC),
    Code("TAR_BYTES_MISSING", "error", "headers", "a member reaches over others' headers", _RESYNC),
    Code("TAR_CONCATENATED", "error", "headers", "an end mark before further members", _RESYNC),
    Code("TAR_GARBAGE_AFTER_END", "error", "headers", "other bytes after the end mark", "drops it"),
    Code("TAR_ZEROS_TO_END", "error", "headers", "far more zeros than an end mark", "drops them"),
    Code("TAR_SHORT_END_MARK", "warning", "headers", "one zero block instead of two", _ANEW),
    Code("NO_MEMBERS", "warning", "headers", "a tar without members", _KEEP),
    Code("NO_SAMPLES", "error", "headers", "members, none of a sample", "writes an empty shard"),
)
_NAMES = (
    Code("MEMBER_LINK", "error", "headers", "a symbolic or hard link", _DROP_MEMBER),
    Code("MEMBER_DEVICE", "error", "headers", "a device or pipe", _DROP_MEMBER),
    Code("MEMBER_SPECIAL", "error", "headers", "a type that readers do not know", _DROP_MEMBER),
    Code("NAME_ABSOLUTE", "error", "headers", "an absolute path", _RENAME),
    Code("NAME_PARENT", "error", "headers", "a path with `..`", _RENAME),
    Code("NAME_NOT_UTF8", "error", "headers", "a name in another encoding", _RENAME),
    Code("NAME_CONTROL", "error", "headers", "a control character in a name", _RENAME),
    Code("NAME_MACOSX", "error", "headers", "below __MACOSX; some readers take it", _DROP_MEMBER),
    Code("NAME_HIDDEN", "warning", "headers", "begins with a dot; readers pass it", _DROP_MEMBER),
    Code("NAME_NO_EXTENSION", "warning", "headers", "no extension; it is passed", _DROP_MEMBER),
    Code("NAME_UPPER_CASE", "warning", "headers", "an upper-case extension", _RENAME),
    Code("NAME_TOO_LONG", "warning", "headers", "over 100 bytes; plain tars have less", _RENAME),
    Code("KEY_DOTTED", "error", "headers", "readers end the key at its first dot", _RENAME),
)
_SAMPLES = (
    Code("DUPLICATE_MEMBER", "error", "headers", "an extension twice", "keeps what comes first"),
    Code("DUPLICATE_KEY", "error", "headers", "a key again later", "keeps what comes first"),
    Code("DUPLICATE_KEY_ACROSS", "error", "headers", "a key in two shards of a folder", _KEEP),
    Code("INTERLEAVED", "error", "headers", "members of a sample apart", "puts them together"),
    Code("MISSING_IMAGE", "error", "headers", "no picture that readers take", _DROP),
    Code("MISSING_TEXT", "error", "headers", "no caption and no class", _DROP),
    Code("MISSING_MEMBER", "warning", "headers", "lacks what most samples have", _KEEP),
    Code("SAMPLE_CUT", "error", "headers", "lost members to damage", "keeps what suffices"),
    Code("SEVERAL_IMAGES", "warning", "headers", "pictures of several extensions", _KEEP),
    Code("MEMBER_TOO_LARGE", "error", "members", "more bytes than are ever read", _DROP),
)
_BESIDE = (
    Code("INDEX_STALE", "error", "headers", "the index sidecar differs", _ANEW),
    Code("STATS_MISMATCH", "error", "headers", "_stats.json differs", _ANEW),
    Code("PARQUET_MISMATCH", "error", "headers", "the .parquet has other keys", "adapts it"),
    Code("SIZES_MISMATCH", "error", "headers", "sizes.json differs", "leaves it out"),
    Code("MANIFEST_MISMATCH", "error", "headers", "manifest.json differs", "leaves it out"),
    Code("SHARD_MISSING", "error", "headers", "named in those, not there", "leaves it out"),
)
_TEXTS = (
    Code("CAPTION_NOT_UTF8", "error", "members", "another encoding", f"{_DROP}; --fix-text mends"),
    Code("CAPTION_NUL", "error", "members", "a NUL character", f"{_DROP}; --fix-text mends"),
    Code("CAPTION_EMPTY", "error", "members", "nothing but white space", _DROP),
    Code("CAPTION_BOM", "warning", "members", "a byte-order mark", _FIX),
    Code("CAPTION_NOT_NFC", "warning", "members", "not in normal form NFC", _FIX),
    Code("CAPTION_HTML_ENTITY", "warning", "members", "HTML entities", _FIX),
    Code("CAPTION_HTML_TAG", "warning", "members", "HTML tags", _KEEP),
    Code("CAPTION_TOO_LONG", "warning", "members", "over --max-caption characters", _KEEP),
    Code("JSON_INVALID", "error", "members", "not JSON", _DROP),
    Code("JSON_NOT_OBJECT", "error", "members", "JSON of another type", _DROP),
    Code("JSON_CAPTIONS_INVALID", "error", "members", "`captions` is no list of texts", _DROP),
    Code("JSON_KEY_MISMATCH", "warning", "members", "`key` is another", _KEEP),
    Code("JSON_CAPTION_MISMATCH", "warning", "members", "`caption` is not the .txt", _KEEP),
)
_IMAGES = (
    Code("IMAGE_EMPTY", "error", "headers", "0 bytes", _DROP),
    Code("IMAGE_NOT_A_PICTURE", "error", "members", "HTML or the like", _DROP),
    Code("IMAGE_UNREADABLE", "error", "members", "damaged", _DROP),
    Code("IMAGE_TRUNCATED", "error", "decode", "cut", _DROP),
    Code("IMAGE_CORRUPT", "warning", "decode", "decodes, with parts that are wrong", _KEEP),
    Code("IMAGE_TOO_LARGE", "error", "members", "over --max-pixels by its header", _DROP),
    Code("IMAGE_WRONG_EXTENSION", "warning", "members", "of another format", _RENAME),
    Code("IMAGE_ORIENTATION", "warning", "members", "turned by EXIF; many ignore it", _KEEP),
    Code("IMAGE_ALPHA", "warning", "members", "transparent; many show what is hidden", _KEEP),
    Code("IMAGE_16_BIT", "warning", "members", "over 8 bits; many clip it", _KEEP),
    Code("IMAGE_CMYK", "warning", "members", "CMYK; readers differ", _KEEP),
    Code("IMAGE_ANIMATED", "warning", "members", "readers take the first frame", _KEEP),
)

CODES: Mapping[str, Code] = MappingProxyType(
    {code.name: code for code in (*_TAR, *_NAMES, *_SAMPLES, *_BESIDE, *_TEXTS, *_IMAGES)}
)


def is_error(code: str) -> bool:
    """Whether a code makes a sample or shard unusable."""
    return CODES[code].severity == "error"


def reaches(level: Level, needed: Level) -> bool:
    """Whether a run at `level` does what is done from `needed` on."""
    return LEVELS.index(level) >= LEVELS.index(needed)


def as_markdown() -> str:
    """The table of codes as documents show it."""
    head = ["| code | severity | level | what it is | `repair` |", "|---|---|---|---|---|"]
    rows = [
        f"| `{code.name}` | {code.severity} | {code.level} | {code.meaning} | {code.repair} |"
        for code in CODES.values()
    ]
    return "\n".join([*head, *rows])
