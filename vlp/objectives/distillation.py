"""Distillation: ½ Σ_directions KL(softmax(T/τ) ‖ softmax(a·S)) of batch similarities, and more.

Vasu et al. 2024 (MobileCLIP, arXiv 2311.17049); Yang et al. 2024 (CLIP-KD, arXiv
2307.12732): relations as above (CRD), features mean ‖x − x'‖² (FD), and InfoNCE of the student's
features against the teacher's of the other side (ICL). Relations go with any width of the teacher.
Several teachers are several entries, each with the name of its own. `needs` a teacher: an entry
under `teachers`, a `teacher` sidecar, or a momentum encoder.
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from vlp.objectives.base import Facts, Objective
from vlp.objectives.rows import row_losses
from vlp.signals import Signals, get, of_all


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The weights of what is learnt from a teacher.

    Args:
        relation: of the similarity distributions.
        feature: of the squared distance of features; needs a teacher of the same width.
        interactive: of the contrast with the teacher's other side; the same.
    """

    relation: float = 1.0
    feature: float = 0.0
    interactive: float = 0.0

    def __post_init__(self) -> None:
        if not any((self.relation, self.feature, self.interactive)):
            raise ValueError("terms: relation, feature and interactive are all 0")


class Distillation(Objective):
    """Learn from a teacher's features.

    Args:
        weight: factor of the term in the total loss.
        teacher: name of the teacher, whose signals are NAME_image and NAME_text.
        terms: what is learnt.
        temperature: of the teacher's similarities.
        student_temperature: of the student's; without it the model's learned scale is used.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        teacher: str = "teacher",
        terms: Terms | None = None,
        temperature: float = 0.01,
        student_temperature: float | None = None,
    ) -> None:
        super().__init__(weight=weight)
        for name, value in (
            ("temperature", temperature),
            ("student_temperature", student_temperature),
        ):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, got {value}")
        self.teacher = teacher
        self.terms = terms or Terms()
        self.temperature = temperature
        self.student_temperature = student_temperature

    @property
    def needs(self) -> frozenset[str]:
        sides = (f"{self.teacher}_image", f"{self.teacher}_text")
        found = {"image", "text", *sides}
        if self.terms.relation or self.terms.interactive:
            found |= {f"all_{side}" for side in sides}
            if self.student_temperature is None:
                found.add("scale")
        if self.terms.relation:
            found |= {"all_image", "all_text"}
        if self.terms.interactive:
            found.add("targets")
        return frozenset(found)

    def prepare(self, facts: Facts) -> None:
        for side in ("image", "text"):
            signal = f"{self.teacher}_{side}"
            theirs, ours = facts.widths.get(signal), facts.widths.get(side)
            if (self.terms.feature or self.terms.interactive) and theirs != ours:
                raise ValueError(
                    f"teacher {self.teacher!r} has {signal} of width {theirs}, the model {side} of "
                    f"width {ours}: feature and interactive compare them directly; use relation "
                    "alone, which compares similarities, or a teacher of the same width"
                )

    def forward(self, signals: Signals) -> Tensor:
        image, text = signals["image"], signals["text"]
        taught_image, taught_text = (
            get(signals, f"{self.teacher}_{side}").detach() for side in ("image", "text")
        )
        total = image.new_zeros(())
        if self.terms.feature:
            distance = (image - taught_image).square().sum(1) + (text - taught_text).square().sum(1)
            total = total + self.terms.feature * 0.5 * distance.mean()
        if not (self.terms.relation or self.terms.interactive):
            return total
        scale = (
            signals["scale"] if self.student_temperature is None else 1 / self.student_temperature
        )
        all_image, all_text = (
            of_all(signals, f"{self.teacher}_{side}").detach() for side in ("image", "text")
        )
        if self.terms.relation:
            to_text = (image @ signals["all_text"].T, taught_image @ all_text.T)
            to_image = (text @ signals["all_image"].T, taught_text @ all_image.T)
            both = sum(self._divergence(scale * own, theirs) for own, theirs in (to_text, to_image))
            total = total + self.terms.relation * 0.5 * both
        if self.terms.interactive:
            to_text_loss = row_losses(scale * image @ all_text.T, signals["targets"])
            to_image_loss = row_losses(scale * text @ all_image.T, signals["targets"])
            total = total + self.terms.interactive * 0.5 * (to_text_loss + to_image_loss).mean()
        return total

    def _divergence(self, own: Tensor, theirs: Tensor) -> Tensor:
        """The mean over rows of KL(teacher ‖ student), of logits [B, G] and cosines [B, G]."""
        taught = (theirs / self.temperature).log_softmax(1)
        return F.kl_div(own.log_softmax(1), taught, reduction="batchmean", log_target=True)
