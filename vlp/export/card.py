"""The model card: `README.md` of an exported folder, in the form that the Hub reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vlp.checkpoint import Card
from vlp.encoder import BaseEncoder
from vlp.export.encoders import logit_bias, parameters
from vlp.export.markdown import Raw, fenced, render
from vlp.export.probe import Checked
from vlp.export.sharing import without_folders
from vlp.export.snippet import PACKAGES, exact_pictures, usage

_LIBRARY = {"onnx": "onnx"}  # as the Hub calls them, where it differs from ours
_TAGS = ("clip", "vlp")
_HEADER = (
    *("data set", "split", "task", "metric"),
    *("value", "95 % interval", "chance", "n", "precision"),
)
_RULE = (*(":--",) * 4, *("--:",) * 4, ":--")
_METRICS = 8  # of a result
_NONE = "–"


@dataclass(frozen=True, kw_only=True)
class CardContent:
    """What a card is made of."""

    form: str  # the format
    folder: Path
    encoder: BaseEncoder
    checked: Checked
    card: Card | None  # of the checkpoint
    results: list[dict[str, Any]]


def model_card(content: CardContent) -> str:
    """The text of `README.md`."""
    encoder, card = content.encoder, content.card
    exact = exact_pictures(content.form, encoder)
    recipe = card.recipe if card else {}
    whole = yaml.safe_dump(recipe, allow_unicode=True)
    return render(
        "card.md.j2",
        front_matter=Raw(_front_matter(content.form)),
        title=content.folder.resolve().name,
        summary=_summary(content),
        install=Raw(f"pip install {PACKAGES[content.form]}"),
        snippet=usage(content.form, encoder, content.folder.resolve().name),
        exact=exact,
        exact_about=(
            "Its image processor crops a quarter of all pictures one pixel beside the place of "
            "training. Where numbers must be those of training, prepare pictures so:"
        ),
        notes=content.checked.notes,
        model=list(_model(encoder)),
        largest=f"{content.checked.largest:.0e}",
        recipe=list(_recipe(card)) if card and recipe else [],
        whole_recipe=fenced(whole, "yaml"),
        cut=".../" in whole,
        metrics=_METRICS,
        header=_HEADER,
        rule=[Raw(sign) for sign in _RULE],
        results=[row for record in content.results for row in _rows(record)],
    )


def _front_matter(form: str) -> str:
    values = {
        "library_name": _LIBRARY.get(form, form),
        "pipeline_tag": "zero-shot-image-classification",
        "tags": list(_TAGS),
    }
    text: str = yaml.safe_dump(values, sort_keys=False)
    return text.strip()


def _summary(content: CardContent) -> str:
    encoder = content.encoder
    return (
        f"A dual encoder: pictures and texts become vectors of {encoder.width} numbers and unit "
        "length, whose dot product says how well they fit. "
        f"Exported from {without_folders(encoder.description['model'])} for {content.form}."
    )


def _model(encoder: BaseEncoder) -> Iterable[tuple[str, object]]:
    yield "architecture", without_folders(encoder.description["model"])
    image, every = parameters(encoder)
    yield "parameters", f"{every:,}, of these {image:,} in the image tower"
    yield "activation", encoder.description["act"]
    yield "fingerprint", encoder.fingerprint
    yield "features", f"{encoder.width} numbers, unit norm"
    yield "logit scale", f"{float(encoder.scale):.4f}"
    if (bias := logit_bias(encoder)) is not None:
        yield "logit bias", f"{bias:.4f}"
    protocol = encoder.protocol
    height, width = encoder.image_size
    yield "pictures", f"{height} x {width} pixels, RGB"
    yield "resized", f"{protocol['resize_mode'] or 'shortest'}, {protocol['interp'] or 'bicubic'}"
    for name in ("mean", "std"):
        yield name, ", ".join(f"{value:.6g}" for value in protocol[name])
    yield "texts", f"{encoder.context_length} tokens, start and end included; longer ones are cut"


def _recipe(card: Card) -> Iterable[tuple[str, object]]:
    recipe = card.recipe
    yield "samples seen", f"{card.samples_seen:,} in {card.step:,} steps"
    yield "weights", card.weights
    yield "objectives", "; ".join(_objectives(recipe.get("objectives")))
    for name, source in _entries(recipe, "data", "sources"):
        shards, weight = source.get("shards"), source.get("weight")
        what = ", ".join(map(str, shards)) if isinstance(shards, list) else str(shards)
        yield f"data: {name}", what + (f", weight {weight}" if weight else "")
    yield "batch", recipe.get("batch")
    yield "precision", recipe.get("precision")
    optim = recipe.get("optim")
    if isinstance(optim, dict):
        yield "optimizer", ", ".join(f"{name} {value}" for name, value in sorted(optim.items()))
    if isinstance(model := recipe.get("model"), dict) and model.get("weights"):
        yield "trained from", model["weights"]
    yield "software", ", ".join(f"{name} {own}" for name, own in sorted(card.versions.items()))


def _entries(recipe: Mapping[str, Any], *path: str) -> list[tuple[str, dict[str, Any]]]:
    found: Any = recipe
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    entries = found.items() if isinstance(found, dict) else ()
    return [(str(name), value) for name, value in entries if isinstance(value, dict)]


def _objectives(objectives: object) -> list[str]:
    found = []
    for name, entry in _entries({"objectives": objectives}, "objectives"):
        kind = str(entry.get("class_path")).rpartition(".")[2]
        options = entry.get("init_args") or {}
        told = ", ".join(f"{option} {value}" for option, value in sorted(options.items()))
        found.append(f"{name}: {kind}" + (f" ({told})" if told else ""))
    return found


def _rows(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The main metrics of a result: those for which chance is known."""
    metrics, chance = record["metrics"], record.get("chance") or {}
    intervals, counts = record.get("ci95") or {}, record.get("n") or {}
    names = [name for name in metrics if name in chance] or list(metrics)
    main = record.get("main")
    names = list(dict.fromkeys([*([main] if main in metrics else []), *names]))[:_METRICS]
    language = record.get("language") or "en"
    dataset = without_folders(record["dataset"]) + (f" ({language})" if language != "en" else "")
    what = (dataset, str(record.get("split") or _NONE), str(record["task"]))
    n = " / ".join(f"{counts[k]:,} {k}" for k in ("images", "texts", "classes") if counts.get(k))
    return [
        (
            *what,
            name,
            _number(metrics[name]),
            _interval(intervals.get(name)),
            _number(chance.get(name)),
            n or _NONE,
            str((record.get("protocol") or {}).get("precision") or _NONE),
        )
        for name in names
    ]


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else _NONE


def _interval(pair: object) -> str:
    if not isinstance(pair, list) or len(pair) != 2:
        return _NONE
    return " to ".join(map(_number, pair))
