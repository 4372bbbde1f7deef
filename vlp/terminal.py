"""Text from data as it may be printed: what a shard holds must not steer the terminal."""

import re

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    r"""The text with its control characters, except ends of lines, as `\xHH`."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
