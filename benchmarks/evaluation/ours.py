"""One measurement of ours, in a process of its own; prints JSON.

python -m benchmarks.evaluation.ours classifier '{...}' | eval '[...]'
"""

import json
import sys
import time
from pathlib import Path
from typing import Any


def classifier(weights: str, classnames: list[str], templates: list[str]) -> dict[str, Any]:
    """Seconds from prompts to the classifier, and the classifier [C, D]."""
    from eval.encode import encode_texts
    from eval.prompts import fill
    from eval.zero_shot import class_weights
    from vlp import load

    encoder = load(weights, device="cpu")
    begin = time.perf_counter()
    texts = [fill(template, name) for name in classnames for template in templates]
    features = encode_texts(texts, encoder, batch=256)
    found = class_weights(features, [len(templates)] * len(classnames))
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "classifier": found.tolist()}


def evaluate(arguments: list[str]) -> dict[str, Any]:
    """Seconds of the command, of them those that load the model, and the metrics by task."""
    from eval.__main__ import main as command

    begin = time.perf_counter()
    status = command(["run", *arguments])
    seconds = time.perf_counter() - begin
    if status != 0:
        raise SystemExit(status)
    output = Path(arguments[arguments.index("--output") + 1])
    lines = (output / "results.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    metrics = {name: value for record in records for name, value in record["metrics"].items()}
    return {"seconds": seconds, "load": records[-1]["seconds"]["load"], "metrics": metrics}


def main() -> None:
    what, given = sys.argv[1], json.loads(sys.argv[2])
    found = classifier(**given) if what == "classifier" else evaluate(given)
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
