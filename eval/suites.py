"""Placeholder."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from eval.runner import Job
from eval.spec import EvalSpec

SUITES: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def plan(suite: str, root: Path, spec: EvalSpec) -> tuple[list[Job], list[str]]:
    """(jobs, sentences about what is missing) of a suite whose data lie under `root`."""
    raise ValueError(f"suite {suite!r}: choices are {', '.join(SUITES)}")
