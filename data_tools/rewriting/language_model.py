"""Any causal or sequence-to-sequence language model from a folder, in this process."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from data_tools.rewriting.backends import Answer, BackendOptions, Prompt, needs_chat
from data_tools.rewriting.generation import (
    LineEnd,
    dtype_of,
    end_tokens,
    generate,
    identity_of,
    load_model,
    load_tokenizer,
    loading,
    model_folder,
    read_answer,
)
from vlp.errors import InputError


class LanguageModel:
    """Answers texts. The model is loaded by the first answer.

    Raises:
        InputError: no such folder, no model of text in it, no such device.
    """

    is_grouped = True
    is_by_sample = False

    def __init__(self, options: BackendOptions) -> None:
        self.group = options.batch
        self._options = options
        self._folder = model_folder(options.model)
        dtype_of(options)  # what is wrong with the options is told before any work

    @cached_property
    def _is_encoder_decoder(self) -> bool:
        with loading(f"--model {self._options.model}"):
            return bool(AutoConfig.from_pretrained(self._folder).is_encoder_decoder)

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401 (of transformers)
        what = f"--model {self._options.model}"
        tokenizer = load_tokenizer(what, self._folder, padding_side="left")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.pad_token is None:
            raise InputError(f"--model {self._options.model}: its tokenizer has no end or padding")
        return tokenizer

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401 (of transformers)
        kind = AutoModelForSeq2SeqLM if self._is_encoder_decoder else AutoModelForCausalLM
        model = load_model(f"--model {self._options.model}", kind, self._folder, self._options)
        model.generation_config.pad_token_id = self._tokenizer.pad_token_id
        return model

    def identity(self) -> dict[str, Any]:
        """The model's files, and how it is sampled."""
        return identity_of(self._folder, self._options)

    def answer(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """The answers; a prompt that is too long for the model is not cut, but an error."""
        texts = [self._text(prompt) for prompt in prompts]
        encoded = self._tokenizer(texts, add_special_tokens=not self._is_chat)["input_ids"]
        room = self._room()
        fitting = [place for place, ids in enumerate(encoded) if len(ids) <= room]
        answers = [
            Answer(error=f"prompt of {len(ids)} tokens, the model takes {room}") for ids in encoded
        ]
        if fitting:
            made = self._generated([prompts[at] for at in fitting], [encoded[at] for at in fitting])
            for place, answer in zip(fitting, made, strict=True):
                answers[place] = answer
        return answers

    def _generated(
        self, prompts: Sequence[Prompt], encoded: Sequence[Sequence[int]]
    ) -> list[Answer]:
        padded = self._tokenizer.pad({"input_ids": list(encoded)}, return_tensors="pt")
        inputs = {
            name: padded[name].to(self._model.device) for name in ("input_ids", "attention_mask")
        }
        # what comes before the answer: a decoder's start token, or the prompt
        start = 1 if self._is_encoder_decoder else inputs["input_ids"].shape[1]
        stopping = [] if self._is_chat else [LineEnd(self._tokenizer, start)]
        tokens = generate(self._model, inputs, prompts, self._options, stopping)[:, start:].cpu()
        ends = end_tokens(self._model, self._tokenizer)
        limit = self._options.max_new_tokens
        return [read_answer(self._tokenizer, row, limit, ends) for row in tokens]

    @cached_property
    def _is_chat(self) -> bool:
        has_template = bool(self._tokenizer.chat_template)
        if self._options.form == "chat" and not has_template:
            raise InputError(
                f"--form chat: {self._options.model} has no chat template; "
                "use --form completion, or a model that was tuned on chats"
            )
        return has_template and self._options.form != "completion"

    def _text(self, prompt: Prompt) -> str:
        if not self._is_chat:
            if prompt.completion is None:
                raise needs_chat(self._options.model)
            return prompt.completion
        messages = [{"role": role, "content": text} for role, text in prompt.messages]
        text: str = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return text

    def _room(self) -> int:
        """Tokens that a prompt may have."""
        config = self._model.config.get_text_config()
        limit = getattr(config, "max_position_embeddings", None)
        if limit is None or self._is_encoder_decoder:
            limit = min(limit or 10**9, self._tokenizer.model_max_length)
            return int(limit)
        return int(limit) - self._options.max_new_tokens
