"""Prompts asked in groups, each group saved before the next."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from data_tools.rewriting.answer_log import AnswerLog
from data_tools.rewriting.backends import Answer, Backend, Prompt


def ask_all(prompts: Iterable[Prompt], backend: Backend, log: AnswerLog) -> dict[str, Answer]:
    """The answers by key; what the log holds is not asked again.

    A backend whose answers depend on the group, if only by the last bits of a product of matrices,
    gets the same groups whether the run was killed or not: a group with an answer missing is asked
    as a whole, and an answer that was there before it holds.

    Args:
        prompts: with pictures they are taken a group at a time, in their order; texts are sorted,
            so that those of like length are padded little.

    Raises: as `Backend.answer`.
    """
    answers = log.read()
    for group in _groups(prompts, backend.group):
        missing = [prompt for prompt in group if prompt.key not in answers]
        if not missing:
            continue
        asked = group if backend.is_grouped else missing
        keys = [prompt.key for prompt in asked]
        fresh = dict(zip(keys, backend.answer(asked), strict=True))
        log.append((key, answer) for key, answer in fresh.items() if key not in answers)
        answers = fresh | answers
    return answers


def _groups(prompts: Iterable[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    source = iter(prompts)
    first = next(source, None)
    if first is None:
        return
    source = itertools.chain([first], source)
    if first.image is None:  # equal prompts are asked once
        source = iter(sorted({p.key: p for p in source}.values(), key=lambda p: (p.size, p.key)))
    while group := list(itertools.islice(source, size)):
        yield list({prompt.key: prompt for prompt in group}.values())
