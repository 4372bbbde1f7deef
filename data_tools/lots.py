"""Draws that depend on a seed and names alone: the same in any order, process or machine."""

import hashlib
import random


def lot(seed: int, *names: str) -> float:
    """A number drawn uniformly from [0, 1), for these names."""
    return int.from_bytes(_digest(seed, names)[:8]) / 2**64


def rng(seed: int, *names: str) -> random.Random:
    """A generator for these names, where one number is not enough."""
    return random.Random(_digest(seed, names))


def _digest(seed: int, names: tuple[str, ...]) -> bytes:
    # lengths keep ("ab", "c") and ("a", "bc") apart
    text = "".join(f"{len(name)}:{name}" for name in (str(seed), *names))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
