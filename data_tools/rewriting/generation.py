"""Generation by transformers, with randomness that belongs to each prompt and not to its batch."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TopPLogitsWarper,
)
from transformers.utils.logging import disable_progress_bar

from data_tools.devices import device_of
from data_tools.lots import rng
from data_tools.rewriting.backends import Answer, BackendOptions, Prompt
from vlp.errors import InputError

_KINDS = (".json", ".safetensors", ".model", ".txt", ".jinja")
_WHOLE_FILE = 64 << 20  # bytes; of larger files samples are hashed
_BLOCK = 1 << 20


class KeyedSampling(LogitsProcessor):
    """Samples each row's next token with a number drawn for that row's key and step alone.

    The token is the one at which the cumulated probabilities pass the number. Every other token
    gets minus infinity, so the greedy search around it takes the sampled one. A row's answer so
    depends neither on the rows beside it nor on what was sampled before on this machine.
    """

    def __init__(self, keys: Sequence[str], temperature: float, top_p: float) -> None:
        self._draws = [rng(0, "sampling", key) for key in keys]
        self._temperature = temperature
        self._warper = TopPLogitsWarper(top_p)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """scores [rows, vocabulary] -> the same, with one finite entry in each row."""
        scaled = self._warper(input_ids, scores.float() / self._temperature)
        cumulated = scaled.softmax(-1, dtype=torch.float64).cumsum(-1)
        drawn = torch.tensor([[row.random()] for row in self._draws], dtype=torch.float64)
        drawn = drawn.to(scores.device) * cumulated[:, -1:]
        token = (cumulated <= drawn).sum(-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)


class LineEnd(StoppingCriteria):
    """A row is done with the first line break after some text."""

    def __init__(self, tokenizer: Any, start: int) -> None:  # noqa: ANN401 (any tokenizer of transformers)
        self._tokenizer = tokenizer
        self._start = start

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: Any,  # noqa: ANN401 (not used)
        **_: object,
    ) -> torch.Tensor:
        """input_ids [rows, tokens] -> done [rows]"""
        last = input_ids[:, -1].tolist()  # one copy from the device for all rows
        done = [
            "\n" in self._text([token]) and bool(self._text(row[self._start : -1].tolist()).strip())
            for token, row in zip(last, input_ids, strict=True)
        ]
        return torch.tensor(done, device=input_ids.device)

    def _text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))


def generate(
    model: Any,  # noqa: ANN401 (any model of transformers that generates)
    inputs: Mapping[str, torch.Tensor],
    prompts: Sequence[Prompt],
    options: BackendOptions,
    stopping: Sequence[StoppingCriteria] = (),
) -> torch.Tensor:
    """Tokens [prompts, prompt + answer] of one batch."""
    sampling = LogitsProcessorList()
    if options.temperature > 0:
        keys = [prompt.key for prompt in prompts]
        sampling.append(KeyedSampling(keys, options.temperature, options.top_p))
    with torch.inference_mode():
        tokens: torch.Tensor = model.generate(
            **inputs,
            max_new_tokens=options.max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            temperature=None,  # what a folder recommends is for sampling that is not ours
            top_p=None,
            top_k=None,
            logits_processor=sampling,
            stopping_criteria=StoppingCriteriaList(stopping),
        )
    return tokens


def read_answer(tokenizer: Any, tokens: torch.Tensor, limit: int, ends: set[int]) -> Answer:  # noqa: ANN401 (any tokenizer of transformers)
    """The answer in the tokens that were generated for one prompt.

    Args:
        tokens: [new tokens], with what pads the batch behind its end.
        limit: of new tokens.
        ends: ids of the tokens that end an answer.
    """
    at = next((i for i, token in enumerate(tokens.tolist()) if token in ends), None)
    text: str = tokenizer.decode(tokens if at is None else tokens[:at], skip_special_tokens=True)
    is_finished = at is not None or len(tokens) < limit or "\n" in text.strip()
    return Answer(text, is_finished)


def end_tokens(model: Any, tokenizer: Any) -> set[int]:  # noqa: ANN401 (as above)
    """The ids that end an answer, of the model and of its tokenizer."""
    ends = model.generation_config.eos_token_id
    listed = ends if isinstance(ends, list) else [ends]
    return {token for token in (*listed, tokenizer.eos_token_id) if token is not None}


@contextmanager
def loading(what: str) -> Iterator[None]:
    """What libraries say of a folder that holds no such model, as an InputError about `what`."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        told = str(error).strip().partition("\n")[0]
        raise InputError(f"{what}: {type(error).__name__}: {told}") from None


def load_model(what: str, kind: Any, folder: Path, options: BackendOptions) -> Any:  # noqa: ANN401 (of transformers)
    """A model of a folder, on its device, ready to be evaluated.

    Args:
        kind: an Auto class of transformers.

    Raises:
        InputError: the folder holds no such model.
    """
    torch.set_num_threads(1)  # so the bits do not depend on the machine's cores
    disable_progress_bar()  # type: ignore[no-untyped-call]  # commands show their own
    with loading(what):
        model = kind.from_pretrained(folder, dtype=dtype_of(options), use_safetensors=True)
    return model.eval().to(device_of(options.device))


def load_tokenizer(what: str, folder: Path, **options: Any) -> Any:  # noqa: ANN401 (of transformers)
    """The tokenizer of a model's folder.

    Raises:
        InputError: there is none; the library makes up one without words then.
    """
    with loading(what):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **options)
    if not tokenizer("a dog", add_special_tokens=False)["input_ids"]:
        raise InputError(f"{what}: the folder {folder} holds no tokenizer")
    return tokenizer


def model_folder(name: str) -> Path:
    """A model's folder; one that is named by its place on the hub is fetched.

    Raises:
        InputError: no such folder or name, or no safetensors in it.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetched(name)
    for needed in ("config.json", "*.safetensors"):
        if not any(folder.glob(needed)):
            raise InputError(f"--model {name}: the folder {folder} holds no {needed}")
    return folder


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[f"*{kind}" for kind in _KINDS]))
    except Exception as error:  # of the hub's client, of the network, or of a name that is none
        told = str(error).partition("\n")[0]
        raise InputError(f"--model {name}: no such folder, and not on the hub ({told})") from None


def fingerprint(folder: Path) -> str:
    """sha256 over the names and contents of a model's files.

    Of files above 64 MiB only the size and blocks spread over the file are hashed: training
    changes all of the weights, and reading all of them at each start would take longer than some
    runs.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in _KINDS):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with open(path, "rb") as file:
            if size <= _WHOLE_FILE:
                digest.update(file.read())
                continue
            for part in range(65):
                file.seek(part * (size - _BLOCK) // 64)
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def identity_of(folder: Path, options: BackendOptions) -> dict[str, Any]:
    """All that decides the answers of the model in a folder."""
    return {
        "backend": "transformers",
        "model": fingerprint(folder),
        "dtype": str(dtype_of(options)).removeprefix("torch."),
        "batch": options.batch,
        **options.sampling(),
    }


def dtype_of(options: BackendOptions) -> torch.dtype:
    """Of the weights: float32 on the CPU, bfloat16 elsewhere, unless the options say."""
    if options.dtype == "auto":
        return torch.float32 if device_of(options.device).type == "cpu" else torch.bfloat16
    dtype: torch.dtype = getattr(torch, options.dtype)
    return dtype
