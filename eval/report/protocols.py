"""What tells results of one benchmark apart that were computed in several ways."""

from collections.abc import Mapping, Sequence
from typing import Any

_LONG = 40  # characters of a value
_DIGEST = 64  # of a sha256


def told_apart(protocols: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each protocol what the others have in another form; empty where there is only one.

    A fingerprint is named only where nothing that people can read tells all of them apart.
    """
    names = sorted({name for protocol in protocols for name in protocol})
    differing = [name for name in names if len({repr(p.get(name)) for p in protocols}) > 1]
    readable = [name for name in differing if not name.endswith("_sha")]
    if len({_values(protocol, readable) for protocol in protocols}) == len(protocols):
        differing = readable
    return [_listed(protocol, differing) for protocol in protocols]


def short(value: object) -> str:
    """A value for a message; of a fingerprint the beginning."""
    text = repr(value)
    if isinstance(value, str) and len(value) == _DIGEST:
        return value[:12]
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _listed(protocol: Mapping[str, Any], names: Sequence[str]) -> str:
    there = (name for name in names if protocol.get(name) is not None)
    return ", ".join(f"{name} {short(protocol[name])}" for name in there)


def _values(protocol: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(protocol.get(name)) for name in names)
