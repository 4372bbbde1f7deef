"""Class names and prompts: where they come from, and how templates are filled in.

Files of the user: one entry a line, or JSON: a list, or an object {data set: list} as
CLIP_benchmark ships them. Prompts of each class (CuPL's form: {class: [prompts]}, or the same for
each data set) take the place of templates; a class may have its own number of them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_clip import OPENAI_IMAGENET_TEMPLATES

from eval.benchmarks import BENCHMARKS, of_folder
from eval.datasets import EvalDataset
from eval.datasets.dataset import read_classnames, read_lines
from eval.spec import EvalSpec

DEFAULT_TEMPLATE = "a photo of a {c}."
PACKAGED = "openai"  # the value of `templates` that asks for OpenAI's 80 of ImageNet
DATA_LANGUAGE = "en"  # of classnames.txt and the templates beside the data
_READERS = {"classnames": read_classnames, "templates": read_lines}
_FILES = {"classnames": "classnames.txt", "templates": "zeroshot_classification_templates.txt"}


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The prompts of C classes, with where they were found."""

    classnames: list[str]
    templates: list[str]  # none where each class has its own prompts
    own: list[list[str]] | None = None  # [C], one or more each
    classnames_from: str
    templates_from: str

    def texts(self, label: int) -> list[str]:
        """The prompts of one class; another may have another number of them."""
        forms = self.templates if self.own is None else self.own[label]
        return [fill(form, self.classnames[label]) for form in forms]

    @property
    def protocol(self) -> dict[str, str | int]:
        names: dict[str, str | int] = {
            "classnames_from": self.classnames_from,
            "classnames_sha": _digest(self.classnames),
        }
        if self.own is None:
            return names | {
                "templates": len(self.templates),
                "templates_from": self.templates_from,
                "templates_sha": _digest(self.templates),
            }
        return names | {
            "prompts": sum(map(len, self.own)),
            "prompts_from": self.templates_from,
            "prompts_sha": _digest(self.own),
        }


def find_prompts(dataset: EvalDataset, spec: EvalSpec) -> Prompts:
    """Class names and prompts: files given by the user, else the data's own, else one template.

    Raises:
        FileNotFoundError: a file that the user named, or that the language needs, is missing.
        ValueError: no class names at all, too few for the labels, a class without prompts, or a
            template without a placeholder.
    """
    classnames, names_from = _classnames(dataset, spec)
    _check_names(classnames, names_from, dataset)
    if spec.prompts is not None and spec.templates is not None:
        raise ValueError(f"give either prompts {spec.prompts} or templates {spec.templates}")
    own = None if spec.prompts is None else _own(spec.prompts, classnames, dataset)
    templates, templates_from = ([], "file") if own else _templates(dataset, spec)
    for template in templates:
        if "{c}" not in template and "{}" not in template:
            raise ValueError(f"templates: {template!r} has no placeholder {{c}} or {{}}")
    return Prompts(
        classnames=classnames,
        templates=templates,
        own=own,
        classnames_from=names_from,
        templates_from=templates_from,
    )


def fill(template: str, name: str) -> str:
    """`name` in the place of `{c}` or `{}`; every other brace stays as it is."""
    return template.replace("{c}", name).replace("{}", name)


def _classnames(dataset: EvalDataset, spec: EvalSpec) -> tuple[list[str], str]:
    if spec.classnames is not None:
        return _from_file(spec.classnames, "classnames", dataset), "file"
    if spec.language != DATA_LANGUAGE:
        return _in_language(dataset, spec.language, "classnames")
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
        return _from_file(spec.templates, "templates", dataset), "file"
    if spec.language != DATA_LANGUAGE:
        return _in_language(dataset, spec.language, "templates")
    if dataset.templates is not None:
        return dataset.templates, "data"
    return [DEFAULT_TEMPLATE], "default"


def language_file(dataset: EvalDataset, language: str, option: str) -> Path | None:
    """The file beside the data, or beside its splits, that has the class names or the templates in
    a language: its name begins with the language. None where there is none.
    """
    folders = (dataset.path / (dataset.split or ""), dataset.path)
    files = (folder / f"{language}_{_FILES[option]}" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _in_language(dataset: EvalDataset, language: str, option: str) -> tuple[list[str], str]:
    file = language_file(dataset, language, option)
    lines = None if file is None else _READERS[option](file)
    if lines is None:
        expected = dataset.path / f"{language}_{_FILES[option]}"
        raise FileNotFoundError(
            f"language {language!r}: there is no {expected}; write it, one a line, or name a file: "
            f"--{option} FILE"
        )
    return lines, f"data_{language}"


def _from_file(path: str, option: str, dataset: EvalDataset) -> list[str]:
    file = _existing(path, option)
    if file.suffix.lower() != ".json":
        lines = _READERS[option](file)
        assert lines is not None  # as it exists
        return lines
    found = _read_json(file, option)
    if isinstance(found, dict):
        found = _of_dataset(found, f"{option} {path}", dataset)
    if isinstance(found, dict) and option == "templates":
        raise ValueError(f"templates {path} has prompts for each class: --prompts {path}")
    if not _are_texts(found):
        raise ValueError(f"{option} {path}: expected a list of texts")
    return list(found)


def _own(path: str, classnames: list[str], dataset: EvalDataset) -> list[list[str]]:
    """The prompts of each class from a JSON file."""
    found = _read_json(_existing(path, "prompts"), "prompts")
    if isinstance(found, dict) and any(isinstance(value, dict) for value in found.values()):
        found = _of_dataset(found, f"prompts {path}", dataset)
    if not isinstance(found, dict):
        raise ValueError(f"prompts {path}: expected an object {{class name: [prompts]}}")
    missing = [name for name in dict.fromkeys(classnames) if name not in found]
    if missing:
        raise ValueError(
            f"prompts {path} has none for {len(missing)} of {len(classnames)} classes: "
            f"{_some(missing)}"
        )
    bad = [name for name in classnames if not _are_texts(found[name])]
    if bad:
        raise ValueError(f"prompts {path}: class {bad[0]!r} needs a list of one or more texts")
    return [list(found[name]) for name in classnames]


def _of_dataset(found: Mapping[str, Any], where: str, dataset: EvalDataset) -> Any:  # noqa: ANN401 (any JSON value)
    """The entry of a data set, by its name or the last part of it."""
    plain = dataset.name.removeprefix("wds_").removesuffix("_test")
    benchmark = BENCHMARKS.get(dataset.name) or of_folder(dataset.name)
    names = dict.fromkeys((dataset.name, plain, *(benchmark.names if benchmark else ())))
    keys = [name for name in names if name in found]
    if not keys:
        tried = ", ".join(names)
        raise ValueError(f"{where} has no entry {tried}; its entries are {_some(list(found), 40)}")
    return found[keys[0]]


def _existing(path: str, option: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        extra = f" (or `{PACKAGED}` for OpenAI's 80 templates)" if option == "templates" else ""
        raise FileNotFoundError(f"{option} {path}: there is no such file{extra}")
    return file


def _read_json(file: Path, option: str) -> Any:  # noqa: ANN401 (any JSON value)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{option} {file} is no JSON: {error}") from None


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(e, str) for e in value)


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _check_names(names: list[str], source: str, dataset: EvalDataset) -> None:
    if dataset.label_sets is not None:
        expected = dataset.label_sets.shape[1]
    elif dataset.labels is None:
        raise ValueError(f"data {dataset.path} has no labels; it holds {dataset.holds}")
    else:
        _check_range(names, source, dataset)
        expected = len(dataset.classnames or names)
    if len(names) != expected:
        raise ValueError(f"classnames: {len(names)} names for the {expected} classes of the data")


def _check_range(names: list[str], source: str, dataset: EvalDataset) -> None:
    assert dataset.labels is not None
    outside = (dataset.labels < 0) | (dataset.labels >= len(names))
    if outside.any():
        position = int(outside.argmax())
        raise ValueError(
            f"data {dataset.path}: sample {dataset.keys[position]!r} has label "
            f"{dataset.labels[position]}, but there are {len(names)} class names "
            f"(from {source}), for labels 0 to {len(names) - 1}"
        )


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()
