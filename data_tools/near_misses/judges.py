"""Language models that see captions alone: what they find likelier says how near misses read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from data_tools.annotate import HEAD, Made, read_sidecar
from data_tools.devices import device_of
from data_tools.rewriting.backends import BackendOptions
from data_tools.rewriting.generation import (
    dtype_of,
    fingerprint,
    load_model,
    load_tokenizer,
    model_folder,
)
from vlp.errors import InputError

Floats = NDArray[np.float64]
SCHEMA = pa.schema(
    [*HEAD, ("originals", pa.list_(pa.float64())), ("texts", pa.list_(pa.float64()))]
)


@dataclass(frozen=True)
class Judging:
    """Which texts a causal language model scores: those of the sidecar `name`."""

    name: str
    model: BackendOptions

    def settings(self) -> dict[str, Any]:
        """All that decides the scores besides the texts, for the recipe."""
        return {
            "model": fingerprint(model_folder(self.model.model)),
            "dtype": str(dtype_of(self.model)).removeprefix("torch."),
            "batch": self.model.batch,
        }


def judge_shard(shard: Path, judging: Judging) -> Made:
    """log P per token of every near miss of a shard and of the caption that it was made of."""
    rows = read_sidecar(shard, judging.name).select(["key", "src_sha256", "originals", "texts"])
    found: list[dict[str, Any]] = rows.to_pylist()
    texts = sorted({text for row in found for side in ("originals", "texts") for text in row[side]},
                   key=lambda text: (len(text), text))  # fmt: skip
    scores: dict[str, float] = {}
    model, size = causal_model(judging.model), judging.model.batch
    for start in range(0, len(texts), size):
        batch = texts[start : start + size]
        scores |= dict(zip(batch, model.log_likelihood(batch), strict=True))
    return Made([_scored(row, scores) for row in found])


def _scored(row: Mapping[str, Any], scores: Mapping[str, float]) -> dict[str, Any]:
    sides = {side: [scores[text] for text in row[side]] for side in ("originals", "texts")}
    return {"key": row["key"], "src_sha256": row["src_sha256"], **sides}


class CausalModel:
    """A causal language model from a folder.

    Raises:
        InputError: no such folder, or another kind of model in it.
    """

    def __init__(self, options: BackendOptions) -> None:
        folder = model_folder(options.model)
        self._device = device_of(options.device)
        self._tokenizer: Any = load_tokenizer(options.model, folder)
        self._model: Any = load_model(options.model, AutoModelForCausalLM, folder, options)
        start = self._tokenizer.bos_token_id
        start = self._tokenizer.eos_token_id if start is None else start
        if start is None:
            raise InputError(f"{options.model}: its tokenizer has neither a first nor a last token")
        self._start = int(start)

    def log_likelihood(self, texts: Sequence[str]) -> list[float]:
        """Mean log P of the tokens of each text, the first given the token that begins texts."""
        encoded = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        longest = int(getattr(self._model.config, "max_position_embeddings", None) or 1024)
        rows = [[self._start, *ids][:longest] for ids in encoded]
        width = max(map(len, rows))
        tokens = torch.full((len(rows), width), self._start, dtype=torch.long)
        is_there = torch.zeros(len(rows), width, dtype=torch.long)
        for place, row in enumerate(rows):
            tokens[place, : len(row)] = torch.tensor(row)
            is_there[place, : len(row)] = 1
        tokens, is_there = tokens.to(self._device), is_there.to(self._device)
        with torch.inference_mode():
            logits = self._model(input_ids=tokens, attention_mask=is_there).logits.float()
            each = logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
            counted = is_there[:, 1:]
            means = (each * counted).sum(1) / counted.sum(1).clamp(min=1)
        return [float(value) for value in means]


@cache
def causal_model(options: BackendOptions) -> CausalModel:
    """The model of these options; a process loads it once."""
    return CausalModel(options)
