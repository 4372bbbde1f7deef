"""Language models behind one contract: prompts go in, answers come back in the same order."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

from data_tools.devices import device_of
from vlp.errors import InputError


@dataclass(frozen=True)
class Prompt:
    """One question to a model, in the two forms that models take.

    `key` is what its answer is saved by and what all randomness of the answer hangs on; make it
    with `prompt_key`.
    """

    messages: tuple[tuple[str, str], ...]  # (role, text): "user" and "assistant" in turn
    completion: str | None  # a text that goes on with the answer; None if only a chat will do
    key: str
    image: bytes | None = field(default=None, repr=False)
    sample: str = ""  # key of the sample that it is about
    place: int = 0  # its number among the prompts of that sample

    @property
    def size(self) -> int:
        """Characters of the prompt; prompts of like size are answered together."""
        return sum(len(text) for _, text in self.messages)


def prompt_key(identity: Mapping[str, Any], prompt: Prompt, *names: str) -> str:
    """sha256 over all that decides the answer.

    Args:
        identity: of the backend.
        names: what tells equal prompts apart, such as the seed and the number of the variant.
    """
    picture = "" if prompt.image is None else hashlib.sha256(prompt.image).hexdigest()
    content = [identity, prompt.messages, prompt.completion, picture, names]
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def needs_chat(model: str) -> InputError:
    """The error for a prompt without completion and a model without chat."""
    return InputError(
        f"--model {model} is asked for completions (it has no chat template, or --form says so), "
        "and this preset or template is for chats only"
    )


@dataclass(frozen=True)
class Answer:
    """What a model said, or why it said nothing."""

    text: str = ""
    is_finished: bool = True  # False where the limit of tokens cut it off
    error: str = ""  # "" when it answered


class Backend(Protocol):
    """Something that answers prompts."""

    group: int  # prompts for each call of `answer`: what is answered and saved together
    is_grouped: bool  # an answer's last bits may depend on which prompts are asked with it
    is_by_sample: bool  # answers belong to samples, so equal prompts of two samples are two

    def identity(self) -> dict[str, Any]:
        """All that decides the answers besides the prompts, as JSON; no secrets, no addresses."""
        ...

    def answer(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """The answers, in the order of the prompts.

        Raises:
            OSError: the model cannot be reached; nothing was answered.
            InputError: it will never answer (no such model, key refused).
        """
        ...


_SAMPLED = frozenset({"model", "form", "temperature", "top_p", "max_new_tokens"})
_READ_BY: Mapping[str, frozenset[str]] = {
    "transformers": _SAMPLED | {"batch", "device", "dtype"},
    "http": _SAMPLED | {"url", "concurrency", "attempts", "timeout"},
    "replay": frozenset({"answers"}),
}


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """How a language model is asked.

    Args:
        backend: transformers (a model folder, in this process), http (any server with OpenAI's
            interface, such as vLLM), or replay (answers from a file).
        model: for transformers a folder or a name on the Hugging Face hub; for http the name that
            the server gives it, which may be left out when it serves one only.
        url: of the server; the key, if it wants one, is read from OPENAI_API_KEY.
        answers: for replay a .jsonl, each line with `key` (of the sample) or `prompt` (its
            sha256), and `answer` or a list `answers`; `rewrite` also takes a .txt with a line for
            each sample in order, after a check that they fit.
        form: chat or completion; auto is chat where the model has a chat template, and over http.
        temperature: of sampling; 0 takes the likeliest token each time.
        top_p: share of probability that sampling is confined to.
        max_new_tokens: longest answer.
        batch: prompts that a model in this process answers together.
        device: cpu, cuda, cuda:1, ...; auto is cuda where there is one.
        dtype: of the weights; auto is bfloat16 on cuda and float32 elsewhere.
        concurrency: requests at a time from each worker.
        attempts: how often a request is sent before it counts as failed.
        timeout: seconds that one request may take.
    """

    backend: Literal["transformers", "http", "replay"]
    model: str = ""
    url: str = "http://127.0.0.1:8000/v1"
    answers: Path | None = None
    form: Literal["auto", "chat", "completion"] = "auto"
    temperature: float = 0.9
    top_p: float = 0.95
    max_new_tokens: int = 120
    batch: int = 16
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    concurrency: int = 16
    attempts: int = 6
    timeout: float = 120.0

    def check(self) -> None:
        """Raises InputError for values that cannot be."""
        for name in ("max_new_tokens", "batch", "concurrency", "attempts"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} {getattr(self, name)}: expected 1 or more")
        if self.temperature < 0:
            raise InputError(f"--temperature {self.temperature}: expected 0 or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top-p {self.top_p}: expected more than 0 and at most 1")
        if self.backend == "http" and not self.url.startswith(("http://", "https://")):
            raise InputError("--url: expected http://HOST:PORT/v1 or https://...")
        if self.timeout <= 0:
            raise InputError(f"--timeout {self.timeout}: expected more than 0 seconds")
        if self.backend == "transformers" and not self.model:
            raise InputError("--backend transformers needs --model, a folder or a name on the hub")
        if (self.backend == "replay") != (self.answers is not None):
            raise InputError("--answers FILE.jsonl and --backend replay belong together")
        for item in fields(BackendOptions):
            is_read = item.name == "backend" or item.name in _READ_BY[self.backend]
            if not is_read and getattr(self, item.name) != item.default:
                flag = item.name.replace("_", "-")
                raise InputError(f"--{flag}: --backend {self.backend} does not use it")

    def sampling(self) -> dict[str, Any]:
        """What decides answers of one model, for `identity`."""
        names = ("form", "temperature", "top_p", "max_new_tokens")
        return {name: getattr(self, name) for name in names}


def backend_options(options: BackendOptions) -> BackendOptions:
    """These options alone, of a command that has more; they can be hashed and sent."""
    values = {item.name: getattr(options, item.name) for item in fields(BackendOptions)}
    return BackendOptions(**values)


def workers_of(model: BackendOptions | None, workers: int) -> int:
    """One worker for one GPU, unless more are asked for (0 is no wish): each holds the model."""
    if model is None or model.backend != "transformers" or workers:
        return workers
    return 0 if device_of(model.device).type == "cpu" else 1


@cache  # a worker loads a model once
def make_backend(options: BackendOptions, has_images: bool = False) -> Backend:
    """The backend that options ask for. Light: a model is loaded by its first answer.

    Args:
        options: as `backend_options` gives them.
        has_images: prompts come with pictures.

    Raises:
        InputError: options that cannot be, a model or file that is not there.
    """
    options.check()
    if options.backend == "replay":
        from data_tools.rewriting.replay import Replay

        return Replay(options)
    if options.backend == "http":
        from data_tools.rewriting.endpoint import Endpoint

        return Endpoint(options)
    if has_images:
        from data_tools.rewriting.captioner import Captioner

        return Captioner(options)
    from data_tools.rewriting.language_model import LanguageModel

    return LanguageModel(options)
