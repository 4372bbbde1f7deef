"""A folder for onnxruntime: both towers, the tokenizer, and a description of what goes in.

The towers take pixels as uint8 and normalise them inside, so nobody can forget it, and give
features of unit norm.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlp.data.files import write_json
from vlp.encoder import BaseEncoder, Encoder
from vlp.errors import InputError, RunError
from vlp.export import cleaning, probe
from vlp.export.encoders import logit_bias, towers
from vlp.export.probe import Checked
from vlp.export.tokenizer_json import WrittenTokenizer, write_tokenizer

IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE = "image.onnx", "text.onnx", "tokenizer.json"
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_INSIDE = 1 << 30  # bytes of weights that go into the file itself, which may hold 2 GiB
_TORCH = (2, 6)
_PREPARED = ("resize_mode", "interp", "mean", "std")


def check_installed() -> None:
    """Refuse to begin without the libraries.

    Raises:
        InputError: one is not installed, or torch is too old.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise InputError(f"--format onnx needs {names}: pip install 'vlp[onnx]'")
    found = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if found < _TORCH:
        raise InputError(f"--format onnx needs torch 2.6 or newer, found {torch.__version__}")


class ImageTower(nn.Module):
    """Pixels [n, 3, H, W] uint8 -> features [n, D], unit norm."""

    def __init__(self, encoder: BaseEncoder) -> None:
        super().__init__()
        self.model: Any = towers(encoder)
        self._encode = encoder._image_features

    def forward(self, pixels: Tensor) -> Tensor:
        return self._encode(pixels)


class TextTower(nn.Module):
    """Tokens [n, L] int64, L the context length -> features [n, D], unit norm."""

    def __init__(self, encoder: BaseEncoder) -> None:
        super().__init__()
        self.model: Any = towers(encoder)
        self._is_open_clip = isinstance(encoder, Encoder)

    def forward(self, tokens: Tensor) -> Tensor:
        if self._is_open_clip:
            features: Tensor = self.model.encode_text(tokens)
            return features
        found: Any = self.model.get_text_features(input_ids=tokens)
        found = found if isinstance(found, Tensor) else found.pooler_output
        return nn.functional.normalize(found, dim=-1)


def write_onnx(encoder: BaseEncoder, folder: Path) -> Checked:
    """Fill a folder, then run it in onnxruntime on the CPU.

    Raises:
        InputError: a tokenizer that has no `tokenizer.json`; nothing has been written.
        RunError: torch cannot export a tower, or what was written gives other features.
    """
    tokenizer = write_tokenizer(encoder)
    tokenizer.fixed.save(str(folder / TOKENIZER_FILE))
    pixels = probe.pixels(encoder)
    tokens = _tokens(tokenizer)
    opsets = {
        _export(ImageTower(encoder), pixels[:2], folder / IMAGE_FILE, ("pixels", "image_features")),
        _export(TextTower(encoder), tokens[:2], folder / TEXT_FILE, ("tokens", "text_features")),
    }
    write_json(folder / "config.json", _description(encoder, max(opsets)))
    texts = list(probe.TEXTS)
    largest = max(
        probe.difference(
            encoder.encode_image(pixels), _run(folder / IMAGE_FILE, pixels), "image features"
        ),
        probe.difference(
            encoder.encode_text(texts, report_truncated=False),
            _run(folder / TEXT_FILE, tokens),
            "text features",
        ),
    )
    notes = [cleaning.LEFT_OUT] if isinstance(encoder, Encoder) else []
    if isinstance(encoder, Encoder) and encoder.captions:
        notes.append("the captioning decoder is left out")
    return Checked(largest, [], notes)


def _tokens(tokenizer: WrittenTokenizer) -> Tensor:
    """[n, L] int64."""
    rows = tokenizer.fixed.encode_batch(list(probe.TEXTS))
    return torch.tensor([row.ids for row in rows])


def _export(module: nn.Module, example: Tensor, path: Path, names: tuple[str, str]) -> int:
    """Write one tower for any number of rows; returns the version of its operators."""
    size = sum(p.numel() * p.element_size() for p in module.parameters())
    with _silence(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[names[0]],
                output_names=[names[1]],
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            raise RunError(f"torch cannot export {path.stem}.onnx: {reason}") from error
        assert program is not None
        for node in program.model.graph:
            node.metadata_props.clear()  # lines of our source, with its folder on this machine
        program.save(str(path), external_data=size > _INSIDE)
    versions: dict[str, int] = program.model.opset_imports
    return versions[""]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without what the exporter tells of its own steps."""
    log = logging.getLogger("onnxscript")
    level = log.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)


def _run(path: Path, values: Tensor) -> Tensor:
    """All rows at once and one alone, as batches of any size must give the same."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    together = torch.from_numpy(session.run(None, {name: values.numpy()})[0])
    alone = torch.from_numpy(session.run(None, {name: values[:1].numpy()})[0])
    probe.difference(together[:1], alone, f"{path.name}: features of one row alone")
    return together


def _description(encoder: BaseEncoder, opset: int) -> dict[str, Any]:
    height, width = encoder.image_size
    features = {"dtype": "float32", "shape": ["batch", encoder.width], "norm": 1.0}
    return {
        "format": "vlp-onnx",
        "opset": opset,
        "image": {
            "file": IMAGE_FILE,
            "input": {"name": "pixels", "dtype": "uint8", "shape": ["batch", 3, height, width]},
            "output": {"name": "image_features", **features},
            "preprocessing": {
                **{name: encoder.protocol[name] for name in _PREPARED},
                "normalisation": "inside the model",
            },
        },
        "text": {
            "file": TEXT_FILE,
            "tokenizer": TOKENIZER_FILE,
            "input": {
                "name": "tokens",
                "dtype": "int64",
                "shape": ["batch", encoder.context_length],
            },
            "output": {"name": "text_features", **features},
        },
        "logit_scale": float(encoder.scale),
        "logit_bias": logit_bias(encoder),
    }
