"""Answers from a file: what another program or an earlier run made, and tests."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from data_tools.rewriting.backends import Answer, BackendOptions, Prompt
from vlp.data.files import file_sha256
from vlp.errors import InputError

_GROUP = 1000


class Replay:
    """Answers by the sample's key or by the sha256 of the prompt, from a JSON Lines file.

    A line is `{"key": ..., "answers": [...]}`, where the i-th answer belongs to the i-th prompt of
    the sample, or `{"prompt": SHA256, "answer": ...}`; `answer` and `answers` may stand in both.

    Raises:
        InputError: a line that is something else, or a key that comes twice.
    """

    group = _GROUP
    is_grouped = False
    is_by_sample = True

    def __init__(self, options: BackendOptions) -> None:
        assert options.answers is not None  # `BackendOptions.check` saw to it
        self._path: Path = options.answers
        if not self._path.is_file():
            raise InputError(f"--answers {self._path}: no such file")

    def identity(self) -> dict[str, Any]:
        """The content of the file."""
        return {"backend": "replay", "answers": file_sha256(self._path)}

    def answer(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """The answers; one that is not in the file is an error of its prompt."""
        return [self._find(prompt) for prompt in prompts]

    def _find(self, prompt: Prompt) -> Answer:
        answers = self._answers.get(f"prompt {prompt_sha256(prompt)}")
        if answers is not None:
            return Answer(answers[0])
        answers = self._answers.get(f"key {prompt.sample}", [])
        if prompt.place < len(answers):
            return Answer(answers[prompt.place])
        return Answer(error=f"not in {self._path.name}")

    @cached_property
    def _answers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    name, answers = self._read(line, number)
                    if name in found:
                        raise InputError(f"--answers {self._path}:{number}: {name} comes twice")
                    found[name] = answers
        return found

    def _read(self, line: bytes, number: int) -> tuple[str, list[str]]:
        expected = 'expected {"key" or "prompt": text, "answer": text or "answers": [texts]}'
        try:
            fields = json.loads(line)
            (kind,) = {"key", "prompt"} & set(fields)
            (content,) = {"answer", "answers"} & set(fields)
        except (ValueError, TypeError):
            raise InputError(f"--answers {self._path}:{number}: {expected}") from None
        answers = fields[content] if content == "answers" else [fields[content]]
        texts = [fields[kind], *answers] if isinstance(answers, list) else [None]
        if not answers or not all(isinstance(text, str) for text in texts):
            raise InputError(f"--answers {self._path}:{number}: {expected}")
        return f"{kind} {fields[kind]}", answers


def prompt_sha256(prompt: Prompt) -> str:
    """sha256 of what a prompt says: its messages as JSON, `[["user", "..."], ...]`."""
    text = json.dumps(prompt.messages, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
