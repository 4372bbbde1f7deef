"""The same weights and batches give the same loss curve as open_clip's own loss and optimizer."""

import math

import open_clip
import pytest
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState
from open_clip.loss import ClipLoss
from open_clip_train.scheduler import cosine_lr
from safetensors.torch import load_file

from tests.training.runs import write_recipe
from training.build import build_accelerator, build_trainer
from training.recipe import parse
from training.state import Progress
from vlp.published import WEIGHTS_FILE

STEPS, WARMUP = 20, 5


@pytest.fixture
def trainer(tmp_path, tiny_arch, shards):
    """Ours, at step 0, and its initial weights as a published model."""
    recipe = write_recipe(
        tmp_path / "r.yaml",
        tiny_arch,
        shards,
        samples=12 * STEPS,
        ema=None,
        schedule={"warmup": 12 * WARMUP},
        optim={"lr": 1e-2, "weight_decay": 0.2},
    )
    request = parse(["--config", str(recipe)])
    torch.manual_seed(0)
    built = build_trainer(request.config, build_accelerator(request.config), request.recipe)
    built.save(Progress())
    built.finish_saving(wait=True)
    yield built
    AcceleratorState._reset_state(reset_partial_state=True)


def open_clips_curve(folder, batches):
    """open_clip's model, loss, parameter groups, schedule and clamp, as its trainer has them."""
    model = open_clip.create_model(f"local-dir:{folder}").train()
    state = load_file(folder / WEIGHTS_FILE)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    named = list(model.named_parameters())
    plain = [p for n, p in named if p.ndim < 2 or "bn" in n or "ln" in n or "bias" in n]
    decayed = [p for n, p in named if p.ndim >= 2 and not any(k in n for k in ("bn", "ln", "bias"))]
    optimizer = torch.optim.AdamW(
        [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.2}],
        lr=1e-2,
        betas=(0.9, 0.98),
        eps=1e-6,
    )
    schedule = cosine_lr(optimizer, 1e-2, WARMUP, STEPS)
    curve = []
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    for step, batch in enumerate(batch["rows"] for batch in batches):
        schedule(step)
        optimizer.zero_grad()
        tokens = F.pad(batch["tokens"], (0, 16 - batch["tokens"].shape[1]))
        image, text, scale = model((batch["pixels"] / 255 - mean) / std, tokens)
        loss = ClipLoss()(image, text, scale)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        curve.append(loss.item())
    return curve


def test_twenty_steps_give_the_same_losses(trainer):
    batches = list(trainer.batches(0, STEPS))
    ours = [trainer.optimize(batch, k)["total"].item() for k, batch in enumerate(batches)]
    folder = trainer.checkpoints.folder / "step-000000000" / "model"
    theirs = open_clips_curve(folder, batches)
    assert abs(ours[-1] - ours[0]) > 0.05, "nothing was learnt, so nothing was compared"
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_published_models_load_in_open_clip_with_equal_features(trainer):
    folder = trainer.checkpoints.folder / "step-000000000" / "model"
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    batch = next(trainer.batches(0, 1))["rows"]
    mean = torch.tensor(preprocess.transforms[-1].mean).view(3, 1, 1)
    std = torch.tensor(preprocess.transforms[-1].std).view(3, 1, 1)
    tokens = F.pad(batch["tokens"], (0, 16 - batch["tokens"].shape[1]))
    with torch.no_grad():
        image = model.eval().encode_image((batch["pixels"] / 255 - mean) / std, normalize=True)
        text = model.encode_text(tokens, normalize=True)
        ours = trainer.step_module.model.eval()(batch)
    assert (ours["image"] - image).abs().max() <= 1e-5
    assert (ours["text"] - text).abs().max() <= 1e-5
