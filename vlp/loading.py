"""`load`: a trained model from wherever it is, ready to encode."""

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch

from vlp.checkpoint import read_card
from vlp.device import checked_device
from vlp.encoder import PRECISIONS, BaseEncoder, Encoder
from vlp.errors import InputError
from vlp.interop.architectures import (
    Architecture,
    inferred,
    preprocessing_of_tags,
    recorded,
    stated,
)
from vlp.interop.hub import PREFIX as HUB
from vlp.interop.hub import download
from vlp.interop.huggingface import HuggingFaceEncoder, is_huggingface, weight_files
from vlp.interop.open_clip_runs import recorded_run
from vlp.interop.state_dicts import SUFFIXES, read_state_dict
from vlp.model.build import ModelConfig, build_model, says_activation
from vlp.model.tokens import build_tokenizer
from vlp.model.towers import DualEncoder
from vlp.model.weights import load_tensors
from vlp.published import CONFIG_FILE, PICKLED_FILE, WEIGHTS_FILE, find_published

log = logging.getLogger(__name__)
_LOCAL = "local-dir:"


@dataclass(frozen=True)
class _How:
    """How a model is to run."""

    device: torch.device
    precision: str
    compile: bool

    def encoder(
        self,
        model: DualEncoder,
        path: str,
        *,
        folder: str | None = None,
        act_known: bool = True,
    ) -> Encoder:
        """The encoder of a model, with the tokenizer of its folder or of its configuration."""
        model_cfg = model.description.model_cfg
        try:
            tokenizer = build_tokenizer(model_cfg, source=folder)
        except OSError as error:
            name = model_cfg["text_cfg"].get("hf_tokenizer_name")
            raise InputError(
                f"{path}: its tokenizer {name} is not in the Hub's cache and cannot be downloaded; "
                f"where there is a network, `hf download {name}`"
            ) from error
        model = model.to(self.device).eval()
        if self.compile:
            model.compile_towers()
        else:
            model.trim_exactly()
        return Encoder(model, tokenizer, precision=self.precision, path=path, act_known=act_known)


def load(
    path_or_name: str | Path,
    device: str | torch.device | None = None,
    precision: str | None = None,
    *,
    arch: str | Path | None = None,
    compile: bool = False,  # noqa: A002 (as torch calls it)
) -> BaseEncoder:
    """Load a model for encoding.

    | path_or_name | |
    |---|---|
    | a run, checkpoint or model folder of ours | of a run the newest checkpoint |
    | a folder in open_clip's format | also as `local-dir:FOLDER` |
    | a folder of Hugging Face's CLIP, SigLIP, SigLIP 2 | of fixed resolution |
    | `hf-hub:ORG/NAME`, `hf-hub:ORG/NAME@REVISION` | either kind of folder, from the Hub |
    | a file `.safetensors`, `.pt`, `.pth`, `.bin` | weights alone: open_clip's, OpenAI's, yours |
    | `ARCH=FILE` | the same as `FILE` with `arch` |
    | `NAME/TAG` | open_clip's name and pretrained tag: `ViT-B-32/openai` |

    No code of a file is ever run: no pickle is loaded but by `torch.load(weights_only=True)`, and
    of a TorchScript archive the tensors alone are read.

    Args:
        path_or_name: as above.
        device: default the GPU if there is one.
        precision: "fp32" (default), "bf16" or "fp16": autocast. Features are float32 in any case.
        arch: of a file, its architecture: an open_clip name or a JSON file in open_clip's format.
            Needed where the shapes of the weights fit several or none.
        compile: compile both towers with `torch.compile`: the first batches take minutes.

    Returns:
        An `Encoder`; for a Hugging Face folder a `vlp.interop.huggingface.HuggingFaceEncoder`.

    Raises:
        InputError: there is no such model, or its files cannot be used; the message says why.
    """
    source = str(path_or_name)
    if not source:
        raise InputError("the name of a model is empty")
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: choices are {', '.join(PRECISIONS)}")
    how = _How(checked_device(device), precision or "fp32", compile)
    try:
        return _load(source, None if arch is None else str(arch), how)
    except InputError:
        raise
    except (ValueError, OSError) as error:
        named = source in str(error) or source.rpartition("=")[2] in str(error)
        raise InputError(str(error) if named else f"{source}: {error}") from error


def _load(source: str, arch: str | None, how: _How) -> BaseEncoder:
    if source.startswith(HUB):
        _no_arch(source, arch)
        return _load_folder(download(source), how)
    path = Path(source.removeprefix(_LOCAL)).expanduser()
    if not path.exists() and arch is None:
        arch, path = _split(source, path)
    if path.is_file() and arch is None and _is_of_its_folder(path):
        path = path.parent
    if path.is_file():
        return _load_file(path, arch, how)
    _no_arch(source, arch)
    if path.is_dir():
        return _load_folder(path, how)
    return _load_named(source.removeprefix(_LOCAL), how)


def _split(source: str, path: Path) -> tuple[str | None, Path]:
    """`ARCH=FILE` in its parts; anything else as it is."""
    arch, equals, file = source.partition("=")
    if equals and (arch.endswith(".json") or arch in open_clip.list_models()):
        if not Path(file).expanduser().is_file():
            raise InputError(f"{source}: there is no file {file}")
        return arch, Path(file).expanduser()
    return None, path


def _no_arch(source: str, arch: str | None) -> None:
    if arch is not None:
        raise InputError(
            f"arch {arch!r} is for a file of weights, which {source} is not: a folder or a name "
            "says its architecture itself"
        )


def _is_of_its_folder(path: Path) -> bool:
    """Whether a file is the weights of a model folder, which also says what they are of."""
    if path.name in (WEIGHTS_FILE, PICKLED_FILE):
        return (path.parent / CONFIG_FILE).is_file()
    return is_huggingface(path.parent) and path in weight_files(path.parent)


def _load_folder(path: Path, how: _How) -> BaseEncoder:
    if is_huggingface(path):
        theirs = HuggingFaceEncoder(path, device=how.device, precision=how.precision)
        if how.compile:
            theirs.compile()
        return theirs
    try:
        folder = find_published(path)
    except FileNotFoundError as error:
        files = sorted(own.name for own in path.iterdir() if own.suffix in SUFFIXES)
        hint = f"; it has weights: give the path of one, e.g. {files[-1]}" if files else ""
        raise InputError(f"{error}, and no Hugging Face folder (config.json){hint}") from None
    card = read_card(folder)
    config = ModelConfig(arch=str(folder / CONFIG_FILE), weights=str(folder))
    model = build_model(config, strict=True)
    model.rename(card.name if card else str(folder))
    encoder = how.encoder(
        model,
        str(folder),
        folder=str(folder),
        act_known=card is not None or says_activation(model.description.model_cfg),
    )
    if card is not None:
        card.check(encoder.fingerprint)
    return encoder


def _load_named(source: str, how: _How) -> Encoder:
    arch, _, tag = source.partition("/")
    if not arch:
        raise InputError(f"there is no file and no folder {source}")
    if arch not in open_clip.list_models():
        near = get_close_matches(arch, open_clip.list_models(), n=3, cutoff=0.5)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise InputError(
            f"{source!r} is no file and no folder, and {arch!r} is no open_clip model{hint}"
        )
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
    if not tag:
        raise InputError(
            f"{source!r} is no folder, and as a model's name it lacks a pretrained tag, "
            f"NAME/TAG; tags of {arch}: {tags}"
        )
    if Path(tag).expanduser().is_file():
        return _load_file(Path(tag).expanduser(), arch, how)
    if not open_clip.get_pretrained_cfg(arch, tag):
        raise InputError(f"{source}: {tag!r} is no file and no tag of {arch}; its tags: {tags}")
    model = build_model(ModelConfig(arch=arch, weights=tag), strict=True)
    model.rename(arch)
    return how.encoder(model, source)


def _load_file(path: Path, arch: str | None, how: _How) -> Encoder:
    weights = read_state_dict(path)
    run = recorded_run(path) if arch is None else None
    if run is not None:
        found, preprocess_cfg = recorded(weights, run), run.preprocess_cfg
    else:
        found = inferred(weights) if arch is None else stated(weights, arch)
        preprocess_cfg = found.preprocess_cfg or _assumed_preprocessing(found, path)
    model = _build(found, preprocess_cfg)
    load_tensors(model.clip, found.name, weights.tensors, path, strict=True)
    act_known = bool(arch or run) or weights.openai or says_activation(model.description.model_cfg)
    if not act_known:
        log.warning(
            "%s does not say with which activation it was trained; %s has GELU: if it was "
            "fine-tuned from OpenAI's weights, it needs quick_gelu: true",
            *(path, found.name),
        )
    return how.encoder(model, str(path), act_known=act_known)


def _build(found: Architecture, preprocess_cfg: Mapping[str, Any]) -> DualEncoder:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "model.json")
        content = {"model_cfg": found.model_cfg, "preprocess_cfg": preprocess_cfg}
        config.write_text(json.dumps(content), encoding="utf-8")
        model = build_model(ModelConfig(arch=str(config)))
    model.rename(found.name)
    return model


def _assumed_preprocessing(found: Architecture, path: Path) -> dict[str, Any]:
    """What all of open_clip's weights of an architecture agree on; what is left is its default.

    A file of weights does not say how its pictures are prepared.
    """
    known = preprocessing_of_tags(found.name)
    if len(known) == 1:
        log.info("%s: pictures are prepared as for open_clip's %s: %s", path, found.name, known[0])
        return known[0]
    log.warning(
        "%s does not say how its pictures are prepared, and open_clip has %s weights of %s: its "
        "defaults are assumed; arch= with a JSON file that has a preprocess_cfg says otherwise",
        *(path, "differing" if known else "no", found.name),
    )
    return {}
