"""Any model from a folder that tells what a picture shows, in this process."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from data_tools.rewriting.backends import Answer, BackendOptions, Prompt, needs_chat
from data_tools.rewriting.generation import (
    dtype_of,
    end_tokens,
    generate,
    identity_of,
    load_model,
    loading,
    model_folder,
    read_answer,
)
from vlp.data.images import UnreadableImageError, decode
from vlp.errors import InputError


class Captioner:
    """Answers prompts with pictures: BLIP and GIT by their captions, LLaVA and others by chat.

    The model is loaded by the first answer.

    Raises:
        InputError: no such folder, no such device.
    """

    is_grouped = True
    is_by_sample = False

    def __init__(self, options: BackendOptions) -> None:
        self.group = options.batch
        self._options = options
        self._folder = model_folder(options.model)
        self._dtype = dtype_of(options)

    @cached_property
    def _processor(self) -> Any:  # noqa: ANN401 (of transformers)
        with loading(f"--model {self._options.model}"):
            processor = AutoProcessor.from_pretrained(self._folder)  # type: ignore[no-untyped-call]
        if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
            raise InputError(f"--model {self._options.model}: the model takes no pictures")
        processor.tokenizer.padding_side = "left"
        if processor.tokenizer.pad_token is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token
        return processor

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401 (of transformers)
        what = f"--model {self._options.model}"
        return load_model(what, AutoModelForImageTextToText, self._folder, self._options)

    @cached_property
    def _is_chat(self) -> bool:
        has_template = bool(getattr(self._processor, "chat_template", None))
        if self._options.form == "chat" and not has_template:
            raise InputError(f"--form chat: {self._options.model} has no chat template")
        return has_template and self._options.form != "completion"

    def identity(self) -> dict[str, Any]:
        """The model's files, and how it is sampled."""
        return identity_of(self._folder, self._options)

    def answer(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """The answers; a picture that cannot be read is an error of its prompt."""
        answers: dict[int, Answer] = {}
        images: dict[int, Image.Image] = {}
        for place, prompt in enumerate(prompts):
            try:
                images[place] = decode(prompt.image or b"").image
            except UnreadableImageError as error:
                answers[place] = Answer(error=f"unreadable picture: {error}")
        if images:
            made = self._generated([prompts[place] for place in images], list(images.values()))
            answers |= dict(zip(images, made, strict=True))
        return [answers[place] for place in range(len(prompts))]

    def _generated(self, prompts: Sequence[Prompt], images: Sequence[Image.Image]) -> list[Answer]:
        texts = [self._text(prompt) for prompt in prompts]
        asked: dict[str, Any] = {"text": texts} if any(texts) else {}
        start = self._processor.tokenizer.bos_token
        if start and texts[0].startswith(start):  # by the chat template; another would be one more
            asked["add_special_tokens"] = False
        made = self._processor(images=list(images), **asked, padding=True, return_tensors="pt")
        inputs = {
            name: value.to(self._model.device, self._dtype if value.is_floating_point() else None)
            for name, value in made.items()
        }
        tokens = generate(self._model, inputs, prompts, self._options)
        start = _prompt_tokens(inputs.get("input_ids"), tokens)
        tokenizer = self._processor.tokenizer
        ends = end_tokens(self._model, tokenizer) | {tokenizer.sep_token_id} - {None}
        limit = self._options.max_new_tokens
        return [read_answer(tokenizer, row, limit, ends) for row in tokens[:, start:].cpu()]

    def _text(self, prompt: Prompt) -> str:
        if not self._is_chat:
            if prompt.completion is None:
                raise needs_chat(self._options.model)
            return prompt.completion
        (_, told), *_ = prompt.messages
        content = [{"type": "image"}, {"type": "text", "text": told}]
        text: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return text


def _prompt_tokens(asked: torch.Tensor | None, tokens: torch.Tensor) -> int:
    """How many tokens at the beginning repeat the prompt: all, all but the end token, or none."""
    if asked is None:
        return 0
    for width in (asked.shape[1], asked.shape[1] - 1):
        # a model may put a start token of its own first
        if torch.equal(tokens[:, 1:width], asked[:, 1:width]):
            return width
    return 0
