"""One measurement of CLIP_benchmark, run by its own interpreter; prints JSON.

    python peer.py classifier '{...}' | eval '[...]'

`eval` takes the arguments of its command line. Its functions run as they are. What is put right
around them: its captioning metrics import pycocoevalcap, which needs Java and is not used here.
"""

import json
import sys
import time
from types import ModuleType
from typing import Any
from unittest import mock

_NEVER_CALLED = {
    "tokenizer.ptbtokenizer": "PTBTokenizer",
    "bleu.bleu": "Bleu",
    "meteor.meteor": "Meteor",
    "rouge.rouge": "Rouge",
    "cider.cider": "Cider",
    "spice.spice": "Spice",
}


def stand_in_for_captioning() -> None:
    """Modules that can be imported."""
    for path, name in _NEVER_CALLED.items():
        parts = ["pycocoevalcap", *path.split(".")]
        for depth in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:depth]), ModuleType(parts[depth - 1]))
        setattr(sys.modules[".".join(parts)], name, None)


def classifier(weights: str, classnames: list[str], templates: list[str]) -> Any:  # noqa: ANN401
    """Seconds of `zero_shot_classifier`, and the classifier [C, D]."""
    from clip_benchmark.metrics import (  # type: ignore[import-not-found]
        zeroshot_classification as metric,
    )
    from clip_benchmark.models import load_clip  # type: ignore[import-not-found]

    model, _, tokenizer = load_clip("open_clip", f"local-dir:{weights}", "", None, "cpu")
    model.eval()
    begin = time.perf_counter()
    found = metric.zero_shot_classifier(model, tokenizer, classnames, templates, "cpu", amp=False)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "classifier": found.T.tolist()}


def evaluate(arguments: list[str]) -> Any:  # noqa: ANN401
    """Seconds of the command, of them those that load the model, and the metrics."""
    from clip_benchmark import cli  # type: ignore[import-not-found]

    load, taken = cli.load_clip, []

    def timed(**options: Any) -> Any:  # noqa: ANN401
        begin = time.perf_counter()
        loaded = load(**options)
        taken.append(time.perf_counter() - begin)
        return loaded

    found: list[dict[str, Any]] = []
    with (
        mock.patch.object(cli, "load_clip", timed),
        mock.patch.object(cli.json, "dump", lambda dumped, file: found.append(dumped)),
        mock.patch.object(sys, "argv", ["clip_benchmark", "eval", *arguments]),
    ):
        begin = time.perf_counter()
        cli.main()
        seconds = time.perf_counter() - begin
    (record,) = found
    return {"seconds": seconds, "load": sum(taken), "metrics": record["metrics"]}


def main() -> None:
    stand_in_for_captioning()
    what, given = sys.argv[1], json.loads(sys.argv[2])
    found = classifier(**given) if what == "classifier" else evaluate(given)
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
