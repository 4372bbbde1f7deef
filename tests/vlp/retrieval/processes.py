"""Processes of tests, forked from one that has imported what takes long."""

import contextlib
import itertools
import multiprocessing
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vlp.retrieval.backends import NAMES

CRASHED = 77  # exit status

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    [  # what can be imported of it
        "torch",
        "faiss",
        "milvus_lite.adapter.grpc.server",
        "milvus_lite.server_manager",
        "pymilvus",
        "tests.vlp.retrieval.crashes",
        "tests.vlp.retrieval.embedding.running_jobs",
        "tests.vlp.retrieval.hindrances",
        "tests.vlp.retrieval.kills",
        *(f"vlp.retrieval.backends.{name}" for name in NAMES),
    ]
)


def crashes(function: Callable[..., object], *arguments: Any) -> bool:
    """Whether a process that does one thing crashes, as `crash_before` says; else it is done."""
    child = processes.Process(target=function, args=arguments)
    child.start()
    child.join()
    assert child.exitcode in (0, CRASHED)
    return child.exitcode == CRASHED


def crash_before(operation: int, names: Sequence[str]) -> None:
    """End this process right before the given one, counted from 1, of these functions of `os`.

    It ends as a SIGKILL would end it: nothing is caught and nothing tidied up.
    """
    left = itertools.count(operation - 1, -1)

    def patched(real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            if next(left) == 0:
                os._exit(CRASHED)
            return real(*arguments, **options)

        return run

    for name in names:
        setattr(os, name, patched(getattr(os, name)))


def printed(path: Path, function: Callable[..., object], *arguments: Any) -> str:
    """What a process prints, also on stderr, that does one thing and ends by itself.

    Args:
        path: a file for that.
        function: of a module, which does it.
        arguments: of the function.
    """
    child = processes.Process(target=_print_to, args=(path, function, arguments))
    child.start()
    child.join()
    text = path.read_text()
    assert child.exitcode == 0, text
    return text


def _print_to(path: Path, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    with open(path, "w", buffering=1, encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)  # what is not Python's prints too
        os.dup2(file.fileno(), 2)
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            function(*arguments)
