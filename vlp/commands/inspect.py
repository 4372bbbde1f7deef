"""`inspect`: what a checkpoint is."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vlp.terminal import printable

_COLUMN = 14  # characters of a fact's name
_SHOWN = 4  # metrics of a result


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Print what a checkpoint is: architecture, parameters, preprocessing, recipe, results.

    Args:
        checkpoint: a run, checkpoint or model folder, a Hugging Face folder, a file of weights, or
            another name that vlp.load takes.
        arch: of a file of weights, its architecture: an open_clip name or a JSON file.
        format: text, or json with the whole recipe and all results.
    """

    checkpoint: str = field(metadata={"positional": True})
    arch: str | None = None
    format: Literal["text", "json"] = "text"


def inspect(options: Inspect) -> None:
    """Run the command.

    Raises:
        InputError: there is no such checkpoint, or it cannot be read.
    """
    from vlp.inspection import describe
    from vlp.loading import load

    facts = describe(load(options.checkpoint, "cpu", arch=options.arch), options.checkpoint)
    if options.format == "json":
        print(json.dumps(facts, indent=2))
        return
    for name, text in _lines(facts):
        print(printable(f"{name:{_COLUMN}}{text}"))


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, text) of each fact."""
    parts, towers = facts["parameters"], facts["towers"]
    yield "checkpoint", facts["source"]
    yield "kind", facts["kind"]
    if facts["path"] != facts["source"]:
        yield "path", str(facts["path"])
    yield "architecture", facts["architecture"]
    yield "parameters", f"{parts['total']:,}"
    yield "image tower", f"{towers['image']}: {parts['image']:,} parameters"
    yield "text tower", f"{towers['text']}: {parts['text']:,} parameters"
    if "captioner" in parts:
        yield "captioner", f"{parts['captioner']:,} parameters"
    yield "features", str(facts["features"])
    yield "context", f"{facts['context_length']} tokens, {facts['tokenizer']}"
    yield "pictures", _pictures(facts["pictures"])
    known = "" if facts["activation_known"] else " (assumed: nothing says so)"
    yield "activation", f"{facts['activation']}{known}"
    bias = "" if facts["bias"] is None else f", bias {facts['bias']:.4g}"
    yield "temperature", f"{1 / facts['scale']:.4g} (scale {facts['scale']:.4g}{bias})"
    floats = [dtype for dtype in facts["stored_as"] if "float" in dtype]
    if floats:
        yield "stored as", ", ".join(floats)
    yield "fingerprint", facts["fingerprint"]
    if facts["training"] is not None:
        yield from _training(facts["training"])
    for place, result in enumerate(facts["results"]):
        yield "" if place else "results", _result(result)
    if not facts["results"]:
        yield "results", "none with it"
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    yield "read with" if facts["training"] is None else "trained with", versions


def _pictures(pictures: Mapping[str, Any]) -> str:
    how = pictures["resize_mode"] or "shortest"
    numbers = (
        f"{name} {' '.join(f'{value:.4g}' for value in pictures[name])}" for name in ("mean", "std")
    )
    size = f"{pictures['height']} x {pictures['width']}"
    return f"{size}, {pictures['interp']}, resize mode {how}, {', '.join(numbers)}"


def _training(training: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    recipe = training["recipe"]
    step, seen = training["step"], training["samples_seen"]
    of = f" of {recipe['samples']:,}" if "samples" in recipe else ""
    batch = f", batch {recipe['batch']:,}" if "batch" in recipe else ""
    averaged = ", averaged (ema)" if training["weights"] == "ema" else ""
    yield "trained", f"{seen:,} samples{of} in {step:,} steps{batch}{averaged}"
    for name, objective in recipe.get("objectives", {}).items():
        yield "objective", f"{name}: {_objective(objective)}"
    for name, source in recipe.get("data", {}).get("sources", {}).items():
        yield "data", f"{name}: {source.get('shards')}"
    optim = recipe.get("optim", {})
    told = {name: optim[name] for name in ("lr", "weight_decay") if name in optim}
    told |= {name: recipe[name] for name in ("precision", "seed") if name in recipe}
    if told:
        yield "recipe", ", ".join(f"{name} {value}" for name, value in told.items())
    if start := recipe.get("model", {}).get("weights"):
        yield "started from", str(start)


def _objective(objective: Mapping[str, Any]) -> str:
    given = objective.get("init_args") or {}
    told = (f"{name} {value}" for name, value in given.items() if value not in (False, None))
    return ", ".join([str(objective.get("class_path")).rpartition(".")[2], *told])


def _result(result: Mapping[str, Any]) -> str:
    there = {name: value for name, value in result["metrics"].items() if value is not None}
    names = dict.fromkeys([result.get("main"), *there])
    shown = [f"{name} {there[name]:.4g}" for name in names if name in there][:_SHOWN]
    more = f", {len(there) - len(shown)} more" if len(there) > len(shown) else ""
    split = f" {result['split']}" if result.get("split") else ""
    return f"{result['dataset']}{split} {result['task']}: {', '.join(shown)}{more}"
