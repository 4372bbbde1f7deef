"""From a configuration to a run: the only place that joins objectives to models."""

import copy
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from eval.run import check
from eval.spec import EvalSpec
from eval.tasks import TASKS
from training.config import TrainConfig
from training.optim import build_optimizer
from training.shard import shard
from training.signals import DataNeeds, check_hard_kinds, data_needs, needed
from training.state import Checkpoints
from training.step import TrainStep
from training.teachers import build_teacher, width_of
from training.trainer import RunTrainer
from vlp.data.loader import PairDataset, Pipeline
from vlp.data.order import BatchOrder
from vlp.data.sidecars import stored_width
from vlp.data.source import Source, expand_shards
from vlp.data.texts import TextDraw
from vlp.data.transforms import TrainTransform
from vlp.dist import active, rank, world_size
from vlp.model import DualEncoder, build_model
from vlp.model.tokens import Tokenizer, build_tokenizer
from vlp.objectives.base import Facts
from vlp.signals import HARD
from vlp.sources import Gather

log = logging.getLogger(__name__)
Tensors = tuple[Tensor, ...] | list[Tensor]


def build_accelerator(config: TrainConfig) -> Accelerator:
    """Join the process group and pick the device.

    Raises:
        ValueError: fewer ranks than the launcher was told, or a batch they cannot share.
    """
    told_several = "MASTER_ADDR" in os.environ and "ACCELERATE_MIXED_PRECISION" in os.environ
    if told_several and "WORLD_SIZE" not in os.environ:
        raise ValueError(
            "the launcher was told to start several processes but started one (accelerate does so "
            "with --cpu); on a machine without GPU use: accelerate launch --multi_gpu "
            "--num_processes N -m training.train ..."
        )
    accelerator = Accelerator(
        mixed_precision={"fp32": "no"}.get(config.precision, config.precision),
        cpu=not torch.cuda.is_available(),
        log_with=config.log.trackers or None,
        project_dir=config.run,
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    if config.batch % accelerator.num_processes:
        raise ValueError(
            f"batch {config.batch} is not divisible by the {accelerator.num_processes} ranks"
        )
    return accelerator


def build_dataset(
    config: TrainConfig, model: DualEncoder, tokenizer: Tokenizer, needs: DataNeeds
) -> PairDataset:
    """The rank's slices of the global batches."""
    sources = {name: Source(name, source) for name, source in config.data.sources.items()}
    if HARD in needs.kinds:
        check_hard_kinds(config.data.texts.hard_kinds, sources)
    order = BatchOrder(
        {name: source.lengths for name, source in sources.items()},
        {name: source.config.weight for name, source in sources.items()},
        config.batch,
        config.seed,
        config.data.shuffle_window,
        pairs=config.data.hard_images,
    )
    pipeline = Pipeline(
        transform=TrainTransform(model.image_size, config.data.augment),
        tokenize=tokenizer,
        truncated=tokenizer.truncated,
        trim=model.trimmer,
        draw=TextDraw(config.data.texts, needs.kinds, config.data.augment.word_dropout),
        hashes=needs.hashes,
        teachers=needs.stored,
    )
    rows = config.batch // world_size()
    return PairDataset(sources, order, pipeline, (rank() * rows, (rank() + 1) * rows))


def build_step(
    config: TrainConfig,
    model: DualEncoder,
    accelerator: Accelerator,
    tokenizer: Tokenizer,
    needs: DataNeeds,
) -> TrainStep:
    """Model, sources and objectives as one module on the device.

    Raises:
        ValueError: something that is needed is not provided, or does not go together.
    """
    wanted = needed(config.objectives)
    model.to(accelerator.device)
    sources: list[nn.Module] = []
    for name, teacher in config.teachers.items():
        source = build_teacher(name, teacher, model, tokenizer, accelerator)
        if not wanted & source.provides:
            raise ValueError(f"teachers.{name}: no objective reads {name}_image or {name}_text")
        sources.append(source)
    gathered = frozenset().union(*(o.needs for o in config.objectives.values()))
    gather = Gather(gathered)
    if gathered & gather.provides:
        sources.append(gather)
    step = TrainStep(model, sources, config.objectives, accelerator.autocast, needs.signals)
    # also once for all: locked towers and copies are put into evaluation by it
    return step.to(accelerator.device).train()


def prepare_objectives(
    config: TrainConfig, dataset: PairDataset, model: DualEncoder, tokenizer: Tokenizer
) -> None:
    """Tell the objectives what they run on.

    Raises:
        ValueError: an option of one does not go with it; the message names the objective.
    """
    widths = {"image": model.width, "text": model.width}
    for name, teacher in config.teachers.items():
        width = model.width if teacher.weights is None else width_of(teacher.weights)
        widths |= {f"{name}_image": width, f"{name}_text": width}
    for name in dataset.pipeline.teachers:
        width = stored_width(name, dataset.sources[0].shards)
        widths |= {f"{name}_image": width, f"{name}_text": width}
    facts = Facts(
        samples=sum(sum(source.lengths) for source in dataset.sources),
        widths=widths,
        pad_id=tokenizer.pad_id,
        locked=model.locked,
    )
    for name, objective in config.objectives.items():
        try:
            objective.prepare(facts)
        except ValueError as error:
            raise ValueError(f"objective {name!r}: {error}") from error


def build_trainer(
    config: TrainConfig,
    accelerator: Accelerator,
    recipe: dict[str, Any],
) -> RunTrainer:
    """Everything of a run, at step 0.

    Raises:
        ValueError, FileNotFoundError: something in the configuration cannot be had; the message
            names the key.
    """
    tasks = {name: place_task(spec, config) for name, spec in config.eval.tasks.items()}
    for spec in tasks.values():
        check(spec)
    model = build_model(config.model)
    tokenizer = build_tokenizer(model.description.model_cfg)
    for name, spec in tasks.items():
        if TASKS[spec.task].writes_captions and not model.captions:
            raise ValueError(
                f"eval.tasks.{name}: task {spec.task} needs a captioning decoder: model.captioner, "
                "or a CoCa architecture"
            )
    needs = data_needs(config)
    if "caption_logits" in needed(config.objectives):
        _ = tokenizer.end_id  # raises where a decoder would never learn to stop
    dataset = build_dataset(config, model, tokenizer, needs)
    prepare_objectives(config, dataset, model, tokenizer)
    step = build_step(config, model, accelerator, tokenizer, needs)
    _warn_of_batch_statistics(model, config)
    averaged = build_average(config, model)
    if config.compile:
        model.compile_towers()
    unsharded = copy.deepcopy(model).to("cpu") if config.parallel == "fsdp" else None
    wrapped = wrap(step, config, accelerator)
    return RunTrainer(
        config=config,
        accelerator=accelerator,
        step_module=step,
        wrapped=wrapped,
        optimizer=build_optimizer(step, config.optim),
        averaged=averaged,
        dataset=dataset,
        tokenizer=tokenizer,
        checkpoints=Checkpoints(Path(config.run), config.checkpoint.keep),
        recipe=recipe,
        tasks=tasks,
        unsharded=unsharded,
    )


def wrap(step: TrainStep, config: TrainConfig, accelerator: Accelerator) -> nn.Module:
    """The step as it is called: wrapped by DDP, or itself where gradients are reduced otherwise."""
    if config.parallel == "fsdp":
        shard(step.model, accelerator.device)
        return step
    if config.micro_batch is not None:  # reduced once, after the last pass
        return step
    # every rank computes the same state per sample: sending such tables around would cost dearly
    state = [f"objectives.{name}" for name, _ in step.objectives.named_buffers()]
    ignore = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    ignore(step, state)  # type: ignore[no-untyped-call]
    wrapped: nn.Module = accelerator.prepare_model(step)
    return wrapped


def place_task(spec: EvalSpec, config: TrainConfig) -> EvalSpec:
    """With `@NAME/...` in `data` replaced by the folder that holds the shards of source NAME.

    Test data mostly lie beside the training shards: so the folder is given once.
    """
    if not spec.data.startswith("@"):
        return spec
    name, _, rest = spec.data[1:].partition("/")
    if name not in config.data.sources:
        raise ValueError(
            f"eval.tasks: data {spec.data!r} names no source; choices: {list(config.data.sources)}"
        )
    first = expand_shards(name, config.data.sources[name].shards)[0]
    return replace(spec, data=os.path.normpath(Path(first).parent / rest))


def build_average(config: TrainConfig, model: DualEncoder) -> AveragedModel | None:
    """Averaged weights, if asked for."""
    if config.ema is None:
        return None
    averaged = AveragedModel(model)  # buffers are copied: averaging a mask of infinities gives NaN
    decay = config.ema

    def average(own: Tensors, trained: Tensors, _: Tensor | int) -> None:
        """Exponential; the decay grows from 0.1, so that the start is soon forgotten."""
        updates = int(averaged.n_averaged)  # kept on the host: reading it waits for nothing
        torch._foreach_lerp_(own, trained, 1 - min(decay, (1 + updates) / (10 + updates)))

    averaged.multi_avg_fn = average
    return averaged


def _warn_of_batch_statistics(model: nn.Module, config: TrainConfig) -> None:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    layers = [type(m).__name__ for m in model.modules() if isinstance(m, kinds)]
    if layers and (active() or config.micro_batch is not None):
        log.warning(
            "the towers have %d layers of %s: their statistics are those of a rank's pass, so "
            "gradients depend on the number of ranks and on micro_batch",
            len(layers),
            layers[0],
        )


def describe(trainer: RunTrainer) -> Mapping[str, str]:
    """What a person wants to see before a run starts."""
    config, model = trainer.config, trainer.step_module.model
    parameters = sum(p.numel() for p in model.parameters())
    sources = {source.name: source.summary for source in trainer.dataset.sources}
    places = config.samples / trainer.dataset.order.rows_a_place
    in_epochs = places / sum(sum(s.lengths) for s in trainer.dataset.sources)
    return {
        "model": f"{model.description.name}, {parameters:,} parameters, {model.image_size} pixels",
        **{f"data.sources.{name}": text for name, text in sources.items()},
        "length": f"{config.samples:,} pairs in {config.steps:,} steps of {config.batch:,}, "
        f"{in_epochs:.3g} epochs",
        "on": f"{world_size()} x {trainer.accelerator.device.type}, {config.precision}",
        "objectives": ", ".join(f"{n} ({type(o).__name__})" for n, o in config.objectives.items()),
    }
