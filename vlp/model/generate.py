"""Captions from pictures: greedy, nucleus sampling and beam search over a captioning decoder.

Each step runs the text tower on everything written so far; captions are short, and the towers are
open_clip's, which keep no cache.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vlp.model.tokens import Tokenizer
from vlp.model.towers import DualEncoder

METHODS = ("greedy", "top_p", "beam")


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How a caption is written."""

    method: str = "greedy"
    max_length: int | None = None  # tokens without start and end; at most what the context holds
    beams: int = 4
    length_penalty: float = 1.0  # beams are compared by log p / length ** penalty
    top_p: float = 0.9  # sampled from the likeliest tokens that hold this much of the probability
    temperature: float = 1.0  # of sampling
    seed: int = 0  # of sampling the first picture; each one after it has the next number

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method {self.method!r}: choices are {', '.join(METHODS)}")
        if self.beams < 1:
            raise ValueError(f"beams must be at least 1, got {self.beams}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if self.max_length is not None and self.max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {self.max_length}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


@torch.inference_mode()
def generate(
    model: DualEncoder, tokenizer: Tokenizer, pixels: Tensor, how: Generation
) -> list[str]:
    """One caption a picture.

    Samples are drawn for each picture apart: picture i of a call with the seed s is written as the
    first of a call with the seed s + i, so a set is written alike however it is cut into batches.

    Args:
        model: with a captioning decoder, in evaluation mode.
        tokenizer: the model's.
        pixels: [B, 3, H, W] uint8, on the model's device.
        how: method and its options.

    Raises:
        ValueError: the model cannot caption.
    """
    _, image = model.image_tower(pixels)
    if not model.captions or image is None:
        raise ValueError(
            f"{model.description.name} has no captioning decoder; train one with "
            "vlp.objectives.Captioning on a CoCa architecture or with model.captioner"
        )
    # the last position of the context is kept for the end
    longest = tokenizer.context_length - 2
    steps = min(how.max_length or longest, longest)
    writer = _Writer(model, image, tokenizer, steps)
    if how.method == "beam":
        written = writer.beam(how.beams, how.length_penalty)
    else:
        written = writer.sample(how)
    return [tokenizer.decode(_body(row, writer.end)) for row in written.tolist()]


def _body(row: list[int], end: int) -> list[int]:
    """A written text without its start, and up to its end."""
    body = row[1:]
    return body[: body.index(end)] if end in body else body


class _Writer:
    """Writes token by token, for all pictures at once."""

    def __init__(self, model: DualEncoder, image: Tensor, tokenizer: Tokenizer, steps: int) -> None:
        self.model = model
        self.image = image  # [B, N, width]
        self.steps = steps
        self.start, self.end, self.pad = tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id

    def sample(self, how: Generation) -> Tensor:
        """[B, L] tokens, the likeliest at each place or drawn from the nucleus."""
        rows = len(self.image)
        text = self._begin(rows)
        done = torch.zeros(rows, dtype=torch.bool, device=text.device)
        draws = None if how.method == "greedy" else _draws(how.seed, rows, self.steps)
        for step in range(self.steps):
            scores = self._next(text, self.image)
            token = scores.argmax(1) if draws is None else _nucleus(scores, how, draws[:, step])
            token = token.masked_fill(done, self.pad)
            text = torch.cat([text, token[:, None]], dim=1)
            done = done | (token == self.end)
            if bool(done.all()):
                break
        return text

    def beam(self, beams: int, penalty: float) -> Tensor:
        """[B, L] tokens, the best of `beams` texts by log p / length ** penalty."""
        rows = len(self.image)
        image = self.image.repeat_interleave(beams, 0)
        text = self._begin(rows * beams)
        total = torch.full((rows, beams), -torch.inf, device=text.device)
        total[:, 0] = 0.0  # all beams begin alike: one of them goes on
        done = torch.zeros(rows, beams, dtype=torch.bool, device=text.device)
        length = torch.zeros(rows, beams, device=text.device)
        first = torch.arange(rows, device=text.device)[:, None] * beams
        for _ in range(self.steps):
            scores = self._next(text, image).view(rows, beams, -1)  # [B, beams, V]
            vocabulary = scores.shape[2]
            scores = scores.masked_fill(done[..., None], -torch.inf)
            scores[..., self.pad] = torch.where(done, 0.0, scores[..., self.pad])
            summed = (total[..., None] + scores).flatten(1)  # [B, beams * V]
            lengths = (length + (~done).float()).repeat_interleave(vocabulary, 1)
            chosen = (summed / lengths.clamp(min=1) ** penalty).topk(beams, dim=1).indices
            beam, token = chosen // vocabulary, chosen % vocabulary
            total, length = summed.gather(1, chosen), lengths.gather(1, chosen)
            done = done.gather(1, beam) | (token == self.end)
            text = torch.cat([text[(first + beam).flatten()], token.reshape(-1, 1)], dim=1)
            if bool(done.all()):
                break
        best = (total / length.clamp(min=1) ** penalty).argmax(1, keepdim=True)
        return text[(first + best).flatten()]

    def _begin(self, rows: int) -> Tensor:
        return torch.full((rows, 1), self.start, dtype=torch.int64, device=self.image.device)

    def _next(self, text: Tensor, image: Tensor) -> Tensor:
        """Log probabilities of the token after each text, [B, V]; padding is no token."""
        _, states = self.model.text_tower(text)
        assert states is not None
        scores = self.model.decode(image, states)[:, -1].float()
        scores[:, [self.pad, self.start]] = -torch.inf
        return F.log_softmax(scores, dim=-1)


def _draws(seed: int, rows: int, steps: int) -> Tensor:
    """[B, steps] in [0, 1), each row from a generator of its own."""
    own = (np.random.Generator(np.random.Philox(seed + row)) for row in range(rows))
    return torch.from_numpy(np.stack([generator.random(steps) for generator in own]))


def _nucleus(scores: Tensor, how: Generation, draw: Tensor) -> Tensor:
    """One token a row from the smallest set with probability `top_p`, by a draw in [0, 1) [B]."""
    chances, order = F.softmax(scores / how.temperature, dim=-1).sort(
        dim=-1, descending=True, stable=True
    )
    before = chances.cumsum(-1) - chances
    # chosen on the CPU, in numbers that every device has
    kept = chances.masked_fill(before >= how.top_p, 0.0).cpu().double()
    total = kept.cumsum(-1)  # [B, V]
    passed = (total <= draw[:, None] * total[:, -1:]).sum(-1)
    place = passed.minimum((kept > 0).sum(-1) - 1)  # rounding may pass the last of them
    return order.gather(1, place[:, None].to(order.device)).squeeze(1)
