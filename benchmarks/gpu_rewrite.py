"""The rows of `benchmarks/gpu.py` for `rewrite`: answers a second of a language model in process.

rewrite FORM  the `transformers` backend with a Llama of random weights, from prompts to texts, as
              completions or as chats; and, batch by batch in turns with it, the `generate` of
              transformers on the same model and padded batch, from prompts to tokens, which draws
              for the batch as a whole where ours draws for each prompt by its key

`vs_generate` is above 1 where ours is faster. `peak_gib` counts the weights.
"""

import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from data_tools.lots import rng
from data_tools.rewriting.backends import BackendOptions, Prompt, prompt_key
from data_tools.rewriting.language_model import LanguageModel
from data_tools.rewriting.templates import PRESETS

_FORMS: tuple[Literal["completion", "chat"], ...] = ("completion", "chat")
_CAPTION = "two dogs and a child run over the wet sand of a beach while a boat passes far behind"
Side = Callable[[LanguageModel, Sequence[Prompt], BackendOptions], int]


def measure_rewriting(model: Path, device: torch.device) -> None:
    """Print the rows.

    Args:
        model: folder of a language model that knows no end of an answer.
        device: on a CPU batches only try the rows.
    """
    for form in _FORMS:
        options = BackendOptions(
            backend="transformers",
            model=str(model),
            form=form,
            max_new_tokens=48,
            batch=64 if device.type == "cuda" else 4,
            device=device.type,
        )
        print(json.dumps({"row": f"rewrite {form}", **_measured(options)}), flush=True)


def _measured(options: BackendOptions) -> dict[str, object]:
    gc.collect()  # of the weights of the row before
    before = torch.cuda.memory_allocated() if options.device == "cuda" else 0
    backend = LanguageModel(options)
    prompts = _prompts(4 * options.batch)
    groups = [prompts[at : at + options.batch] for at in range(0, len(prompts), options.batch)]
    sides: dict[str, Side] = {"": _answer, "generate_": _generate}
    seconds, peaks = dict.fromkeys(sides, 0.0), dict.fromkeys(sides, 0)
    for number, group in enumerate([groups[0], *groups]):  # the first time it is loaded
        for name, side in sides.items():
            if options.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            started = time.perf_counter()
            tokens = side(backend, group, options)
            if number:
                seconds[name] += time.perf_counter() - started
            if options.device == "cuda":
                peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated() - before)
            if tokens != len(group) * options.max_new_tokens:
                raise ValueError(f"{tokens} new tokens for {len(group)} prompts: unequal work")
    row: dict[str, object] = {"prompts": len(prompts), "batch": options.batch}
    for name in sides:
        rate = len(prompts) / seconds[name]
        row[f"{name}answers_per_second"] = round(rate, 1)
        row[f"{name}new_tokens_per_second"] = round(rate * options.max_new_tokens)
        if options.device == "cuda":
            row[f"{name}peak_gib"] = round(peaks[name] / 2**30, 2)
    return row | {"vs_generate": round(seconds["generate_"] / seconds[""], 3)}


def _prompts(number: int) -> list[Prompt]:
    """Captions of 5 to 18 words asked with three examples, the short ones first as in a run."""
    made = []
    for place in range(number):
        words = _CAPTION.split()[: rng(0, str(place)).randint(5, 18)]
        prompt = PRESETS["examples-fluent"].prompt({"caption": " ".join(words)}, 0, str(place))
        made.append(replace(prompt, key=prompt_key({}, prompt, str(place))))
    return sorted(made, key=lambda prompt: (prompt.size, prompt.key))


def _answer(backend: LanguageModel, prompts: Sequence[Prompt], options: BackendOptions) -> int:
    """New tokens of our answers: an answer that did not end has as many as it may."""
    answers = backend.answer(prompts)
    return options.max_new_tokens * sum(not one.is_finished and not one.error for one in answers)


@torch.inference_mode()
def _generate(backend: LanguageModel, prompts: Sequence[Prompt], options: BackendOptions) -> int:
    """New tokens of transformers' own sampling on the same model and the same padded tokens."""
    texts = [backend._text(prompt) for prompt in prompts]
    ids = backend._tokenizer(texts, add_special_tokens=not backend._is_chat)["input_ids"]
    padded = backend._tokenizer.pad({"input_ids": ids}, return_tensors="pt")
    tokens = backend._model.generate(
        input_ids=padded["input_ids"].to(options.device),
        attention_mask=padded["attention_mask"].to(options.device),
        do_sample=True,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=0,
        max_new_tokens=options.max_new_tokens,
    )
    return int(tokens[:, padded["input_ids"].shape[1] :].cpu().numel())
