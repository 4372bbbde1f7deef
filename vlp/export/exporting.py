"""`export_model`: a checkpoint as a folder that another library loads by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vlp.checkpoint import Card, read_card
from vlp.data.files import write_json, write_text
from vlp.encoder import BaseEncoder
from vlp.errors import InputError
from vlp.export.card import CardContent, model_card
from vlp.export.output import MARK, check_output, files_of, write_folder
from vlp.export.probe import Checked
from vlp.export.sharing import shared_card, without_folders
from vlp.export.snippet import loaders
from vlp.loading import load
from vlp.run_results import fingerprint_of, read_results, read_results_file

FORMATS = ("open_clip", "transformers", "sentence-transformers", "onnx")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    folder: Path
    form: str
    files: list[tuple[str, int]]  # names and bytes, without the mark
    checked: Checked
    fingerprint: str
    loaders: list[str]  # calls that load it


def export_model(
    checkpoint: str | Path,
    form: str,
    output: Path,
    *,
    overwrite: bool = False,
    results: Path | None = None,
    tell: Callable[[str], object] = lambda step: None,
) -> Exported:
    """Write a folder, and load it by the library that it is for, before it is put in place.

    Args:
        checkpoint: what `vlp.load` takes.
        form: one of `FORMATS`.
        output: the folder; absent, empty, or with `overwrite` an earlier export.
        overwrite: replace an earlier export, in one step; refused where its files were changed.
        results: a file of results for the card; default those that the checkpoint's run holds.
        tell: gets a line at the beginning of each step that may take long.

    Raises:
        InputError: unknown format, a model that the format cannot express, a library that is not
            installed, a folder with something else in it. Nothing has been written.
        RunError: the library gives other features, or the disk is full. Nothing has been written.
    """
    if form not in FORMATS:
        raise InputError(f"--format {form!r}: choices are {', '.join(FORMATS)}")
    output = output.expanduser()
    check_output(output, overwrite=overwrite)
    write = _writer(form)
    given = None if results is None else read_results_file(results)
    tell(f"loading {checkpoint}")
    encoder = load(checkpoint, device="cpu")
    card = _card_of(encoder)
    found = _results_of(encoder) if given is None else _own(given, encoder, results)

    tell(f"writing it for {form}, and loading it again by that library")

    def fill(folder: Path) -> tuple[Checked, list[tuple[str, int]]]:
        checked = write(encoder, folder, card)
        content = CardContent(
            form=form, folder=output, encoder=encoder, checked=checked, card=card, results=found
        )
        write_text(folder / "README.md", model_card(content))
        files = files_of(folder)
        write_json(folder / MARK, {**_mark(form, encoder, checked), "files": files})
        return checked, list(files.items())

    checked, files = write_folder(output, fill)
    return Exported(
        folder=output,
        form=form,
        files=files,
        checked=checked,
        fingerprint=encoder.fingerprint,
        loaders=loaders(form, output),
    )


Writer = Callable[[BaseEncoder, Path, Card | None], Checked]


def _writer(form: str) -> Writer:
    """What fills a folder; that the libraries which it needs are there is checked here.

    Raises:
        InputError: one is not installed.
    """
    if form == "open_clip":
        from vlp.export.open_clip_folder import write_open_clip

        return write_open_clip
    if form == "transformers":
        from vlp.export.transformers_folder import write_transformers

        return lambda encoder, folder, _: write_transformers(encoder, folder)
    if form == "onnx":
        from vlp.export import onnx_folder

        onnx_folder.check_installed()
        return lambda encoder, folder, _: onnx_folder.write_onnx(encoder, folder)
    from vlp.export import sentence_transformers_folder as sentences

    sentences.check_installed()
    return lambda encoder, folder, _: sentences.write_sentence_transformers(encoder, folder)


def _card_of(encoder: BaseEncoder) -> Card | None:
    card = read_card(Path(encoder.path)) if encoder.path else None
    return None if card is None else shared_card(card)


def _results_of(encoder: BaseEncoder) -> list[dict[str, Any]]:
    return read_results(Path(encoder.path)) if encoder.path else []


def _own(
    given: list[dict[str, Any]], encoder: BaseEncoder, path: Path | None
) -> list[dict[str, Any]]:
    """Of a file's results those of this model.

    Raises:
        InputError: none is.
    """
    found = [line for line in given if fingerprint_of(line) == encoder.fingerprint]
    if not found:
        others = sorted({str(fingerprint_of(line))[:12] for line in given})
        raise InputError(
            f"--results {path}: none of its {len(given)} results is of this model, whose "
            f"fingerprint is {encoder.fingerprint[:12]}; they are of {', '.join(others)}"
        )
    return found


def _mark(form: str, encoder: BaseEncoder, checked: Checked) -> dict[str, Any]:
    return {
        "schema": 1,
        "format": form,
        "model": without_folders(encoder.description["model"]),
        "fingerprint": encoder.fingerprint,
        "largest_difference": checked.largest,
        "vlp": version("vlp"),
    }
