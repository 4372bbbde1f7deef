"""The tokenizer that belongs to a model configuration."""

import json
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import torch

from vlp.published import CONFIG_FILE


class Tokenizer:
    """An open_clip tokenizer that also says how many captions it had to cut."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 (open_clip's tokenizers share no class)
        self.tokenizer = tokenizer
        self.context_length = int(tokenizer.context_length)

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """[n, L] int64, L the context length."""
        tokens: torch.Tensor = self.tokenizer(texts)
        return tokens

    def truncated(self, texts: list[str], tokens: torch.Tensor) -> int:
        """How many of the texts lost tokens; `tokens` is what `__call__` gave for them.

        Only a row without padding can have been cut, so only those are tokenized again, one
        position longer.
        """
        full = [text for text, row in zip(texts, tokens, strict=True) if row[-1] != self.pad_id]
        if not full:
            return 0
        longer = self.tokenizer(full, context_length=self.context_length + 1)
        return int((longer[:, -1] != self.pad_id).sum())

    def save(self, folder: Path) -> None:
        """Write the files that open_clip needs to load this tokenizer from `folder`, if any."""
        if hasattr(self.tokenizer, "save_pretrained"):
            self.tokenizer.save_pretrained(str(folder))

    @property
    def pad_id(self) -> int:
        """What fills up a text to the context length."""
        return self._id("pad_token_id", default=0)

    @property
    def start_id(self) -> int:
        """What every text begins with."""
        return int(self([""])[0, 0])

    @property
    def end_id(self) -> int:
        """What ends every text.

        Raises:
            ValueError: texts end with the padding alone, so a decoder would never learn to stop.
        """
        row = self([""])[0].tolist()
        if len(row) < 2 or row[1] == self.pad_id:
            raise ValueError("the tokenizer ends a text with nothing but its padding")
        return int(row[1])

    def decode(self, ids: list[int]) -> str:
        """The text of token ids without start, end and padding."""
        text = str(self.tokenizer.decode(ids)) if self._inner is None else self._inner.decode(ids)
        return " ".join(text.split())

    @property
    def _inner(self) -> Any:  # noqa: ANN401 (of transformers, where open_clip wraps one)
        return getattr(self.tokenizer, "tokenizer", None)

    def _id(self, name: str, *, default: int) -> int:
        found = getattr(self._inner, name, None)
        return default if found is None else int(found)


def build_tokenizer(model_cfg: dict[str, Any], source: str | None = None) -> Tokenizer:
    """The tokenizer of a model configuration; `source` is a folder with tokenizer files."""
    text_cfg = dict(model_cfg["text_cfg"])
    with tempfile.TemporaryDirectory() as folder:
        if source is not None or "hf_tokenizer_name" not in text_cfg:
            path = source or folder
            if source is None:
                content = {"model_cfg": model_cfg}
                Path(folder, CONFIG_FILE).write_text(json.dumps(content), encoding="utf-8")
            return Tokenizer(open_clip.get_tokenizer(f"local-dir:{path}"))
    hf = open_clip.tokenizer.HFTokenizer(
        text_cfg["hf_tokenizer_name"],
        context_length=text_cfg.get("context_length", 77),
        tokenizer_mode=text_cfg.get("tokenizer_mode"),
        **text_cfg.get("tokenizer_kwargs", {}),
    )
    return Tokenizer(hf)
