"""`vlp export`: a checkpoint as a folder that another library loads by itself."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a model as a folder for open_clip, transformers, sentence-transformers or onnxruntime.

    The folder holds configuration, weights, tokenizer, preprocessing and a model card, README.md.
    Before it is put in place, the library itself loads it, and its features must be ours to 1e-4.
    What a library cannot express is refused by name.

    Args:
        checkpoint: a run, a checkpoint, a model folder, a file of weights, or NAME/TAG.
        format: open_clip takes every model of ours; transformers and sentence-transformers those
            that are a CLIPModel or a SiglipModel; onnx every model, as two graphs and a tokenizer.
        output: the folder to write.
        results: a results.jsonl of `python -m eval`, for the card; default those of the run.
        overwrite: replace an earlier export.
    """

    checkpoint: str = field(metadata={"positional": True})
    format: Literal["open_clip", "transformers", "sentence-transformers", "onnx"]
    output: Path
    results: Path | None = None
    overwrite: bool = False


def export(options: Export) -> None:
    """Run the command.

    Raises:
        InputError: the model, the format or the folder cannot be used.
        RunError: the library gives other features.
    """
    from vlp.export.exporting import export_model

    done = export_model(
        options.checkpoint,
        options.format,
        options.output,
        overwrite=options.overwrite,
        results=options.results,
        tell=lambda step: print(step, file=sys.stderr, flush=True),
    )
    print(f"{options.checkpoint} as {done.form}: {done.folder}")
    width = max(len(name) for name, _ in done.files)
    for name, size in done.files:
        print(f"  {name:{width}}  {size:>14,} bytes")
    checked = done.checked
    print(f"loaded by the library itself: largest difference of a feature {checked.largest:.0e}")
    for line in (*checked.lines, *(f"note: {note}" for note in checked.notes)):
        print(line)
    print("\n".join(("to load it:", *(f"  {call}" for call in done.loaders))))
    print(f"a whole program is in {done.folder / 'README.md'}")
