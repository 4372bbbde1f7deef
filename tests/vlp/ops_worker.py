"""Values and gradients of the distributed losses on this process group, to a file; by torchrun.

A tower of each kind is one matrix, equal on all ranks, and its gradient is the mean over ranks, as
DDP takes it.
"""

import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F

from vlp.dist import active, rank, world_size
from vlp.ops import sharded_contrastive_loss, sigmoid_loss, tiles
from vlp.sources.gather import gather_with_gradient

ROWS, WIDTH = 12, 5
CASES = (
    *("contrastive", "smoothed", "sigmoid", "locked image", "sigmoid locked text"),
    "separated",  # logits near 100 that leave a loss of 1e-3
)


def draw(rows, generator):
    return torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64)


def parameters(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    image, text = (draw(WIDTH, generator).to(dtype) for _ in range(2))
    scale, bias = (torch.tensor(value, dtype=dtype) for value in (7.0, -2.0))
    return {
        name: tensor.requires_grad_()
        for name, tensor in {"image": image, "text": text, "scale": scale, "bias": bias}.items()
    }


def inputs(dtype=torch.float64):
    """Of the global batch, [G, WIDTH] each."""
    generator = torch.Generator().manual_seed(1)
    return tuple(draw(ROWS, generator).to(dtype) for _ in range(2))


def features(given, case, rows=slice(None)):
    images, texts = inputs(given["image"].dtype)
    image = F.normalize(images[rows] @ given["image"], dim=1)
    text = F.normalize(texts[rows] @ given["text"], dim=1)
    if case == "locked image":
        image = image.detach()
    if case == "separated":
        text = F.normalize(8 * image.detach() + text, dim=1)
    return image, text.detach() if case == "sigmoid locked text" else text


def scale_of(given, case):
    return given["scale"] * (15 if case == "separated" else 1)


def loss_of(case, given):
    rows = ROWS // world_size()
    own = slice(rank() * rows, (rank() + 1) * rows)
    image, text = features(given, case, own)
    if case.startswith("sigmoid"):
        return sigmoid_loss(image, text, given["scale"], given["bias"])
    targets = torch.arange(rows) + rank() * rows
    smoothing = 0.1 if case == "smoothed" else 0.0
    return sharded_contrastive_loss(
        *(image, gather_with_gradient(text), scale_of(given, case), targets),
        label_smoothing=smoothing,
    )


def mean_over_ranks(tensor):
    tensor = tensor.clone()
    if active():
        dist.all_reduce(tensor)
    return tensor / world_size()


def run(case, dtype):
    given = parameters(dtype)
    loss = loss_of(case, given)
    (3 * loss).backward()
    found = {name: mean_over_ranks(p.grad) for name, p in given.items() if p.grad is not None}
    with torch.no_grad():
        assert torch.equal(loss_of(case, given), loss.detach())
    return {"loss": mean_over_ranks(loss.detach()), **found}


def refusals():
    """What each loss says where ranks hold different numbers of rows."""
    rows = 2 + (rank() == 0)
    said = []
    given = torch.ones(rows, WIDTH), torch.tensor(1.0)
    for call in (
        lambda: sigmoid_loss(given[0], given[0], given[1], given[1]),
        lambda: sharded_contrastive_loss(
            given[0], torch.ones(2 * world_size() + 1, WIDTH), given[1], torch.arange(rows)
        ),
    ):
        try:
            call()
        except ValueError as error:
            said.append(str(error))
    return said


def sent():
    """Bytes that this rank sends for each loss, by the benchmark's count, and what it refuses."""
    from benchmarks import loss  # here, as it sets how threads wait

    setting = loss.Setting(batch=64 * world_size(), width=WIDTH, threads=1, scale=10.0)
    found = {name: loss.sent_by(name, setting) for name in loss.KINDS}
    loss.sharded = loss.contrastive_loss  # sends nothing
    try:
        loss.sent_by("ours", setting)
    except RuntimeError as error:
        return found, str(error)
    return found, ""


def main(path):
    dist.init_process_group("gloo")
    tiles.CPU_TILE = 3
    sys.modules["vlp.ops.sigmoid"].CPU_TILE = 3
    found = {
        (case, str(dtype)): run(case, dtype)
        for case in CASES
        for dtype in (torch.float64, torch.float32)
    }
    again = run("contrastive", torch.float32)
    same = all(torch.equal(a, found["contrastive", "torch.float32"][k]) for k, a in again.items())
    others = {"said": refusals(), "sent": sent()} if active() else {}
    if rank() == 0:
        torch.save({"found": found, "same": same, **others}, path)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
