"""Class names and prompt templates: where they come from, and how they are filled in."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from open_clip import OPENAI_IMAGENET_TEMPLATES

from eval.datasets import EvalDataset
from eval.datasets.dataset import read_classnames, read_lines
from eval.spec import EvalSpec

DEFAULT_TEMPLATE = "a photo of a {c}."
PACKAGED = "openai"  # the value of `templates` that asks for OpenAI's 80 of ImageNet


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """C class names and T templates, with where they were found."""

    classnames: list[str]
    templates: list[str]
    classnames_from: str
    templates_from: str

    def texts(self, label: int) -> list[str]:
        """The T prompts of one class."""
        return [fill(template, self.classnames[label]) for template in self.templates]

    @property
    def protocol(self) -> dict[str, str | int]:
        return {
            "templates": len(self.templates),
            "templates_from": self.templates_from,
            "templates_sha": _digest(self.templates),
            "classnames_from": self.classnames_from,
            "classnames_sha": _digest(self.classnames),
        }


def find_prompts(dataset: EvalDataset, spec: EvalSpec) -> Prompts:
    """Class names and templates: files given by the user, else the data's own, else one template.

    Raises:
        FileNotFoundError: a file that the user named is missing.
        ValueError: no class names at all, too few for the labels, or a template without a
            placeholder.
    """
    classnames, names_from = _classnames(dataset, spec)
    templates, templates_from = _templates(dataset, spec)
    _check(classnames, names_from, templates, dataset)
    return Prompts(
        classnames=classnames,
        templates=templates,
        classnames_from=names_from,
        templates_from=templates_from,
    )


def fill(template: str, name: str) -> str:
    """`name` in the place of `{c}` or `{}`; every other brace stays as it is."""
    return template.replace("{c}", name).replace("{}", name)


def _classnames(dataset: EvalDataset, spec: EvalSpec) -> tuple[list[str], str]:
    if spec.classnames is not None:
        return _required(spec.classnames, "classnames"), "file"
    if dataset.classnames is None:
        raise ValueError(
            f"data {dataset.path} has labels but no classnames.txt; "
            "name a file with one class a line: --classnames FILE"
        )
    return dataset.classnames, "data"


def _templates(dataset: EvalDataset, spec: EvalSpec) -> tuple[list[str], str]:
    if spec.templates == PACKAGED:
        return [template("{c}") for template in OPENAI_IMAGENET_TEMPLATES], "openai_imagenet"
    if spec.templates is not None:
        return _required(spec.templates, "templates"), "file"
    if dataset.templates is not None:
        return dataset.templates, "data"
    return [DEFAULT_TEMPLATE], "default"


def _required(path: str, option: str) -> list[str]:
    read = read_classnames if option == "classnames" else read_lines
    lines = read(Path(path).expanduser())
    if lines is None:
        extra = f" (or `{PACKAGED}` for OpenAI's 80 templates)" if option == "templates" else ""
        raise FileNotFoundError(f"{option} {path}: there is no such file{extra}")
    return lines


def _check(names: list[str], source: str, templates: list[str], dataset: EvalDataset) -> None:
    if dataset.labels is None:
        raise ValueError(f"data {dataset.path} has no labels; it holds {dataset.holds}")
    outside = (dataset.labels < 0) | (dataset.labels >= len(names))
    if outside.any():
        position = int(outside.argmax())
        raise ValueError(
            f"data {dataset.path}: sample {dataset.keys[position]!r} has label "
            f"{dataset.labels[position]}, but there are {len(names)} class names "
            f"(from {source}), for labels 0 to {len(names) - 1}"
        )
    expected = len(dataset.classnames or names)
    if len(names) != expected:
        raise ValueError(f"classnames: {len(names)} names for the {expected} classes of the data")
    for template in templates:
        if "{c}" not in template and "{}" not in template:
            raise ValueError(f"templates: {template!r} has no placeholder {{c}} or {{}}")


def _digest(values: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()
