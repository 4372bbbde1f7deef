"""Captions and records: what is wrong with their bytes, and how it can be mended."""

import codecs
import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from data_tools.defects.names import Problem
from vlp.data.files import encode

_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_TAG = re.compile(
    r"</?(?:a|b|br|p|div|span|img|i|em|strong|font|li|ul|ol|h[1-6]|td|tr|table|script|style)"
    r"(?:\s[^<>]*)?/?>|<!--",
    re.IGNORECASE,
)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BOM = "\ufeff"


def check_caption(data: bytes, most: int) -> Iterator[Problem]:
    """What is wrong with a `.txt` member.

    Args:
        most: characters of the longest caption.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        yield Problem("CAPTION_NOT_UTF8", f"byte 0x{data[error.start]:02x} at {error.start}")
        return
    if "\0" in text:
        yield Problem("CAPTION_NUL", f"at character {text.index(chr(0))}")
    if not text.strip(_BOM + "\0").strip():
        yield Problem("CAPTION_EMPTY", f"{len(data)} bytes")
    yield from _mild(text)
    if len(text) > most:
        yield Problem("CAPTION_TOO_LONG", f"{len(text):,} characters, limit {most:,}")


def _mild(text: str) -> Iterator[Problem]:
    if _BOM in text:
        yield Problem("CAPTION_BOM", f"U+FEFF at character {text.index(_BOM)}")
    if not unicodedata.is_normalized("NFC", text):
        yield Problem("CAPTION_NOT_NFC", "letters and their marks apart")
    if "&" in text and (entity := _first_entity(text)):
        yield Problem("CAPTION_HTML_ENTITY", entity)
    if "<" in text and (tag := _TAG.search(text)):
        yield Problem("CAPTION_HTML_TAG", tag[0][:40])


def _first_entity(text: str) -> str:
    found = (match[0] for match in _ENTITY.finditer(text))
    return next((entity for entity in found if html.unescape(entity) != entity), "")


def read_record(data: bytes) -> tuple[dict[str, Any] | None, Problem | None]:
    """The object of a `.json` member, or why it is none."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return None, Problem("JSON_INVALID", reason)
    if not isinstance(record, dict):
        return None, Problem("JSON_NOT_OBJECT", type(record).__name__)
    return record, None


def check_record(key: str, record: Mapping[str, Any], caption: bytes | None) -> Iterator[Problem]:
    """What a record says otherwise than its sample.

    Args:
        caption: the `.txt` member, None without one.
    """
    captions = record.get("captions")
    if captions and not (_are_texts(captions) and has_caption(record)):
        yield Problem("JSON_CAPTIONS_INVALID", f"{captions!r:.60}")
    own = record.get("key")
    if own is not None and str(own) not in (key, key.rpartition("/")[2]):
        yield Problem("JSON_KEY_MISMATCH", f"{own!r:.60} in the sample {key!r}")
    told = record.get("caption")
    if caption is not None and isinstance(told, str):
        text = caption.decode("utf-8", "replace")
        if told.strip() != text.strip():
            yield Problem("JSON_CAPTION_MISMATCH", f"{told!r:.60}, but the .txt has {text!r:.60}")


def _are_texts(captions: object) -> bool:
    return isinstance(captions, list) and all(isinstance(text, str) for text in captions)


def has_caption(record: Mapping[str, Any]) -> bool:
    """Whether a record alone is enough for a sample without `.txt`."""
    captions = record.get("captions")
    return isinstance(captions, list) and any(isinstance(c, str) and c.strip() for c in captions)


def mend_bytes(data: bytes) -> tuple[bytes, list[str]]:
    """A caption as clean UTF-8, and the codes of what was mended; unchanged where that fails."""
    codes: list[str] = []
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        # what is no UTF-8 is nearly always the one-byte encoding of Western Windows
        encoding = "utf-16" if data[:2] in _UTF16 else "cp1252"
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            return data, []
        codes.append("CAPTION_NOT_UTF8")
    clean, more = mend_text(text)
    codes += more
    return (clean.encode(), codes) if codes else (data, [])


def mend_text(text: str) -> tuple[str, list[str]]:
    """A text without NUL, byte-order marks and HTML entities, in NFC; and the codes of those."""
    codes = []
    for code, mend in _MENDS.items():
        after = mend(text)
        if after != text:
            text = after
            codes.append(code)
    return text, codes


def _unescape(text: str) -> str:
    """`&amp;amp;` is no rare thing: until nothing is left to unescape."""
    while (after := _ENTITY.sub(lambda match: html.unescape(match[0]), text)) != text:
        text = after
    return text.replace("\0", "")


_MENDS: Mapping[str, Callable[[str], str]] = {
    "CAPTION_NUL": lambda text: text.replace("\0", ""),
    "CAPTION_HTML_ENTITY": _unescape,  # may bring a mark or letters apart to light
    "CAPTION_BOM": lambda text: text.replace(_BOM, ""),
    "CAPTION_NOT_NFC": lambda text: unicodedata.normalize("NFC", text),
}


def mend_record(record: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A record with its `caption` and `captions` mended, as readers prefer them to the `.txt`."""
    new, codes = dict(record), dict[str, None]()
    if isinstance(record.get("caption"), str):
        new["caption"], found = mend_text(record["caption"])
        codes |= dict.fromkeys(found)
    captions = record.get("captions")
    if isinstance(captions, list):
        new["captions"] = list(captions)
        for place, text in enumerate(captions):
            if isinstance(text, str):
                new["captions"][place], found = mend_text(text)
                codes |= dict.fromkeys(found)
    return new, list(codes)


def mend_json(data: bytes) -> tuple[bytes, list[str]]:
    """A `.json` member with its texts mended, and the codes of that; unchanged where none is."""
    record, wrong = read_record(data)
    codes = []
    if wrong is not None and wrong.code == "JSON_INVALID":
        try:
            record, _ = read_record(data.decode("cp1252").encode())
        except UnicodeDecodeError:
            return data, []
        codes = ["CAPTION_NOT_UTF8"]
    if record is None:
        return data, []
    new, more = mend_record(record)
    codes += more
    return (encode(json.dumps(new, ensure_ascii=False)), codes) if codes else (data, [])
