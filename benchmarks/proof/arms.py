"""What is trained: one arm per objective, and the arm that it is compared with."""

from dataclasses import dataclass

RECIPES = "training/recipes/shapes"
DATA = "data/proof"
SHARED = {"teacher": ("teacher",), "counting_start": ("counting_start",)}  # overlays of runs
WORLDS = {  # folder under DATA: options of `data_tools shapes`
    "shapes": "--pairs 16000",
    "uncounted": "--pairs 16000 --numbers 0.05",
    "counted": "--pairs 2000 --kinds count --seed 1",
}


@dataclass(frozen=True)
class Arm:
    """Recipes laid over `base.yaml`, in order."""

    name: str
    overlays: tuple[str, ...] = ()
    captions: bool = False  # whether its captions are evaluated too
    uses: tuple[tuple[str, str], ...] = ()  # options that take the folder of a shared run

    @property
    def recipes(self) -> list[str]:
        """Paths of all recipes, from the repository's root."""
        return [f"{RECIPES}/{name}.yaml" for name in ("base", *self.overlays)]


_START = (("--model.weights", "counting_start"),)
ARMS = {
    arm.name: arm
    for arm in (
        Arm("base"),
        Arm("counting_data", ("counting_data",), uses=_START),
        Arm("counting_published", ("counting_data", "counting_published"), uses=_START),
        Arm("counting", ("counting_data", "counting"), uses=_START),
        Arm("counting_all", ("counting_data", "counting_all"), uses=_START),
        Arm("gap", ("gap",)),
        Arm("negclip", ("negclip",)),
        Arm("laclip", ("laclip",)),
        Arm("coca", ("coca",), captions=True),
        Arm("small_batch", ("small_batch",)),
        Arm("dcl", ("small_batch", "dcl")),
        Arm("sogclr", ("small_batch", "sogclr")),
        Arm("isogclr", ("small_batch", "isogclr")),
        Arm("distillation", ("distillation",), uses=(("--teachers.teacher.weights", "teacher"),)),
    )
}


@dataclass(frozen=True)
class Claim:
    """A number that an arm is said to move against another arm.

    `better` is +1 where more is better, −1 where less is; with `margin` the claim is that the
    number is no worse by more than that.
    """

    system: str
    arm: str
    against: str
    number: str  # TASK/METRIC
    says: str
    better: int = 1
    margin: float | None = None


RETRIEVAL, UNSEEN = "retrieval/mean_recall@1", "paraphrases/mean_recall@1"
CLAIMS = (
    Claim("Counting, scaled", "counting", "counting_data", "counting/count_acc", "count accuracy"),
    Claim("Counting, all numbers", "counting_all", "counting_data", "counting/count_acc",
          "count accuracy"),
    Claim("Counting, all numbers", "counting_all", "counting_data", RETRIEVAL, "R@1 no worse",
          margin=0.02),
    Claim("Counting as published", "counting_published", "counting_data", "counting/count_acc",
          "count accuracy"),
    Claim("Gap (CUAXU)", "gap", "base", "gap/centroid_distance", "centroid distance", -1),
    Claim("Gap (CUAXU)", "gap", "base", "gap/linear_separability", "linear separability", -1),
    Claim("Gap (CUAXU)", "gap", "base", RETRIEVAL, "R@1 no worse", margin=0.02),
    Claim("Hard captions (NegCLIP)", "negclip", "base", "choice/acc_swap",
          "attribute-swap accuracy"),
    Claim("Hard captions (NegCLIP)", "negclip", "base", RETRIEVAL, "R@1 no worse", margin=0.02),
    Claim("Rewrites (LaCLIP)", "laclip", "base", UNSEEN, "R@1 on unseen wordings"),
    Claim("Rewrites (LaCLIP)", "laclip", "base", RETRIEVAL, "R@1 on own wording no worse",
          margin=0.02),
    Claim("Captioning (CoCa)", "coca", "base", RETRIEVAL, "R@1 no worse", margin=0.02),
    Claim("DCL, batch 16", "dcl", "small_batch", RETRIEVAL, "R@1"),
    Claim("SogCLR, batch 16", "sogclr", "small_batch", RETRIEVAL, "R@1"),
    Claim("iSogCLR, batch 16", "isogclr", "small_batch", RETRIEVAL, "R@1"),
    Claim("Distillation", "distillation", "base", RETRIEVAL, "R@1"),
)  # fmt: skip
