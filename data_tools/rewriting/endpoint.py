"""Any server with OpenAI's interface (vLLM, llama.cpp, hosted ones), asked over HTTP."""

import base64
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import openai
from openai import OpenAI

from data_tools.rewriting.backends import Answer, BackendOptions, Prompt, needs_chat
from vlp.errors import InputError

_GROUP = 8  # requests of each thread between two savings
_KINDS = {b"\xff\xd8": "jpeg", b"\x89P": "png", b"RI": "webp"}  # first bytes of pictures
_HOPELESS: Mapping[type[openai.APIStatusError], str] = {  # these do not get better by asking again
    openai.AuthenticationError: "it wants another key in OPENAI_API_KEY",
    openai.PermissionDeniedError: "the key in OPENAI_API_KEY may not do this",
    openai.NotFoundError: "it knows no such path or model",
}


class Endpoint:
    """Sends prompts with a seed each, several at a time.

    Busy servers (429, 5xx), time-outs and lost connections are tried again by the client, after the
    time that `Retry-After` names or one that doubles. What fails then, or is no answer, is an error
    of its prompt.

    Raises:
        InputError: the server serves no such model, or several and none was named.
        OSError: it cannot be reached.
    """

    is_grouped = False
    is_by_sample = False

    def __init__(self, options: BackendOptions) -> None:
        self.group = options.concurrency * _GROUP
        self._options = options
        self._secret = os.environ.get("OPENAI_API_KEY", "")

    @cached_property
    def _client(self) -> OpenAI:
        return OpenAI(
            base_url=self._options.url,
            api_key=self._secret or "none",
            max_retries=self._options.attempts - 1,
            timeout=self._options.timeout,
        )

    @cached_property
    def _model(self) -> str:
        """The model's name: the one that was given, or the only one that is served."""
        if self._options.model:
            return self._options.model
        try:
            served = sorted(model.id for model in self._client.models.list().data or ())
        except openai.APIConnectionError as error:
            raise ConnectionError(f"{self._place}: {_cause(error)}") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            told = f"{self._place} answers {error.status_code}"
            raise InputError(f"{told}: {_HOPELESS[type(error)]}") from None
        except (openai.OpenAIError, ValueError, AttributeError, TypeError):
            raise InputError(
                f"{self._place} does not tell which models it serves; give --model"
            ) from None
        if len(served) != 1:
            raise InputError(
                f"--model: {self._place} serves {len(served)} models"
                f"{': ' * bool(served)}{', '.join(map(self._safe, served))}; name one"
            )
        return served[0]

    def identity(self) -> dict[str, Any]:
        """The model's name and how it is sampled; not the address, which may change."""
        return {"backend": "http", "model": self._model, **self._options.sampling()}

    def answer(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """The answers; if no prompt reached the server, that is an error of them all."""
        with ThreadPoolExecutor(self._options.concurrency) as threads:
            outcomes = list(threads.map(self._ask, prompts))
        answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
        unreached = [outcome for outcome in outcomes if isinstance(outcome, _Unreached)]
        if unreached and not answers:
            raise ConnectionError(f"{self._place}: {unreached[0].cause}")
        return [
            outcome if isinstance(outcome, Answer) else Answer(error=outcome.cause)
            for outcome in outcomes
        ]

    @property
    def _place(self) -> str:
        """The server's address without what may be secret in it."""
        url = self._client.base_url
        return f"{url.scheme}://{url.host}:{url.port}{url.path}" if url.port else str(url.host)

    def _ask(self, prompt: Prompt) -> "Answer | _Unreached":
        try:
            if self._options.form == "completion":
                return self._completed(prompt)
            return self._chatted(prompt)
        except openai.APITimeoutError:
            return Answer(error=f"no answer within {self._options.timeout:g} s")
        except openai.APIConnectionError as error:
            return _Unreached(_cause(error))
        except openai.APIStatusError as error:
            for kind, meaning in _HOPELESS.items():
                if isinstance(error, kind):
                    model = self._safe(self._model)
                    told = f"{self._place} answers {error.status_code} for model {model}"
                    raise InputError(f"{told}: {meaning}") from None
            return Answer(error=f"HTTP {error.status_code}{self._told(error.body)}")
        except (openai.OpenAIError, ValueError):
            return Answer(error="the response is no JSON")
        except (AttributeError, TypeError, IndexError, KeyError):
            return Answer(error="the response is not of OpenAI's form")

    def _chatted(self, prompt: Prompt) -> Answer:
        messages: list[Any] = [{"role": role, "content": text} for role, text in prompt.messages]
        if prompt.image is not None:
            shown = {"type": "image_url", "image_url": {"url": _data_uri(prompt.image)}}
            told = {"type": "text", "text": messages[0]["content"]}
            messages[0] = {"role": "user", "content": [shown, told]}
        made = self._client.chat.completions.create(
            model=self._model, messages=messages, **self._sampling(prompt)
        )
        choice = made.choices[0]
        return _read(choice.message.content, choice.finish_reason)

    def _completed(self, prompt: Prompt) -> Answer:
        if prompt.completion is None or prompt.image is not None:
            raise needs_chat(self._model)
        made = self._client.completions.create(
            model=self._model, prompt=prompt.completion, stop=["\n"], **self._sampling(prompt)
        )
        return _read(made.choices[0].text, made.choices[0].finish_reason)

    def _sampling(self, prompt: Prompt) -> dict[str, Any]:
        return {
            "temperature": self._options.temperature,
            "top_p": self._options.top_p,
            "max_tokens": self._options.max_new_tokens,
            "seed": int(prompt.key[:7], 16),  # below 2**31, the most that some servers take
        }

    def _told(self, body: object) -> str:
        """What a server says of an error, in short."""
        message = body.get("message") if isinstance(body, dict) else None
        return f": {self._safe(message):.200}" if isinstance(message, str) else ""

    def _safe(self, text: str) -> str:
        """A server's text without the key, which some repeat."""
        text = " ".join(text.split())
        return text.replace(self._secret, "[key]") if self._secret else text


class _Unreached:
    def __init__(self, cause: str) -> None:
        self.cause = cause


def _read(text: object, finish_reason: object) -> Answer:
    if not isinstance(text, str):
        return Answer(error="the response holds no text")
    return Answer(text, finish_reason != "length")


def _cause(error: openai.APIConnectionError) -> str:
    cause = type(error.__cause__).__name__ if error.__cause__ else "no connection"
    return f"the server cannot be reached ({cause})"


def _data_uri(image: bytes) -> str:
    kind = _KINDS.get(image[:2], "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
