"""Threads for what takes long, so that the server keeps answering."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vlp.serve.refusals import Refused

Result = TypeVar("Result")


class Workers:
    """Threads for one kind of work.

    Args:
        name: of the threads.
        threads: how many.
        waiting: how much work may wait for one of them.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + waiting
        self._present = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do something in a thread.

        Raises:
            Refused: too much is waiting already.
        """
        if self._present >= self._most:
            raise Refused(503, "the server is busy; try again in a moment", {"Retry-After": "2"})
        self._present += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._present -= 1
