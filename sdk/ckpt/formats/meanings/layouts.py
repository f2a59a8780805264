"""Who wrote a single file, and where that writer keeps what: one row a framework, known by its dictionary's keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckpt.formats.meanings import rules
from ckpt.formats.meanings.layout import Layout
from ckpt.formats.meanings.places import at

CKPT = Layout(
    framework="ckpt",
    keys=frozenset({"format_version", "model_state_dict", "rng_states", "resume_state"}),
    epoch=("epoch", "resume_state.epoch", "training_state.epoch"),
    step=("global_step", "resume_state.global_step", "training_state.global_step"),
    loss=("loss", "resume_state.loss", "training_state.loss", "metrics.loss"),
    learning_rate=("learning_rate", "resume_state.learning_rate", "training_state.learning_rate"),
    saved_at=("save_timestamp", "training_state.timestamp"),
    metrics=("metrics", "training_state.metrics"),
    config=("config_snapshot", "model_config"),
    states={"choice_rng_state": "other"},
    topology=(("world_size", "world_size"),),
    report="capture_report",
    epoch_finished="resume_state.epoch_finished",
    phase="resume_state.phase",
)

_CKPT_BEFORE = replace(
    CKPT,
    keys=frozenset({"model_state_dict", "global_step", "epoch", "resume_state"}),
    saved_at=("save_timestamp", "resume_state.timestamp", "timestamp"),
    config=("config_snapshot", "model_config", "config"),
    states={
        "choice_rng_state": "other",
        "resume_state.dataloader_manager_state": "data",
        "resume_state.multi_train": "data",
        "resume_state.rng": "rng",
    },
)
"""Files of the format's first writers: no version, positions and generators inside of `resume_state`."""

LIGHTNING = Layout(
    framework="lightning",
    keys=frozenset({"pytorch-lightning_version"}),
    epoch=("epoch",),
    step=("global_step",),
    config=("hyper_parameters", "datamodule_hyper_parameters"),
    rule=rules.lightning,
)

_NEMO = replace(LIGHTNING, framework="nemo", holds=("hyper_parameters.cfg.nemo_version",))

_IGNITE = Layout(
    framework="ignite",
    keys=frozenset(),
    holds=("*.epoch_length", "*.iteration"),
    step=("trainer.iteration", "*.iteration"),
    states={"trainer": "data", "trainer.rng_states": "rng", "checkpointer": "other"},
    rule=rules.ignite,
)

_COMPOSER = Layout(
    framework="composer",
    keys=frozenset({"state", "rng"}),
    holds=("state.timestamp.Timestamp",),
    epoch=("state.timestamp.Timestamp.epoch",),
    step=("state.timestamp.Timestamp.batch",),
    config=("state.metadata",),
    states={
        "state.model": "model",
        "state.optimizers": "optimizer",
        "state.schedulers": "scheduler",
        "state.scaler": "scaler",
        "state.dataset_state": "data",
        "state.timestamp": "data",
    },
    topology=(("world_size", "state.metadata.world_size"), ("world_size", "metadata.world_size")),
    rule=rules.composer,
)

_COMPOSER_WEIGHTS = replace(
    _COMPOSER,
    keys=frozenset({"state"}),
    holds=("state.model", "state.metadata.composer_env_info"),
)
"""Composer's weights alone: no time, no generators."""

_TIMM = Layout(
    framework="timm",
    keys=frozenset({"arch", "version", "state_dict", "epoch"}),
    epoch=("epoch",),
    config=("args",),
    topology=(("world_size", "args.world_size"),),
    rule=rules.timm,
)

_ULTRALYTICS = Layout(
    framework="ultralytics",
    keys=frozenset({"train_args", "best_fitness"}),
    epoch=("epoch",),
    saved_at=("date",),
    metrics=("train_metrics",),
    config=("train_args",),
    best=("fitness", "max"),
)

_FAIRSEQ = Layout(
    framework="fairseq",
    keys=frozenset({"optimizer_history", "extra_state", "model"}),
    epoch=("extra_state.train_iterator.epoch", "extra_state.epoch"),
    step=("optimizer_history.-1.num_updates",),
    measured={"val_loss": "extra_state.val_loss", "best": "extra_state.best"},
    config=("cfg", "args"),
    states={
        "optimizer_history": "other",
        "optimizer_history.-1.lr_scheduler_state": "scheduler",
        "criterion": "model",
        "extra_state.ema": "ema",
        "extra_state.train_iterator": "data",
    },
    topology=(
        ("world_size", "cfg.distributed_training.distributed_world_size"),
        ("world_size", "args.distributed_world_size"),
    ),
    rule=rules.fairseq,
)

_MMENGINE = Layout(
    framework="mmengine",
    keys=frozenset({"meta", "message_hub", "state_dict"}),
    epoch=("meta.epoch",),
    step=("meta.iter",),
    saved_at=("meta.time",),
    config=("meta.cfg",),
    rule=rules.mmengine,
)

_MMCV = replace(
    _MMENGINE,
    keys=frozenset({"meta", "state_dict"}),
    holds=("meta.mmcv_version",),
    config=("meta.config", "meta.cfg"),
)
"""mmcv's, before its runner became mmengine."""

_FVCORE = Layout(
    framework="fvcore",
    keys=frozenset({"model", "iteration", "optimizer", "scheduler"}),
    step=("iteration",),
)

_DETECTRON = Layout(
    framework="fvcore",
    keys=frozenset({"model", "iteration", "trainer"}),
    step=("iteration", "trainer.iteration"),
    states={
        "trainer": "other",
        "trainer.optimizer": "optimizer",
        "trainer.grad_scaler": "scaler",
        "trainer.hooks.LRScheduler": "scheduler",
        "trainer._trainer.optimizer": "optimizer",
        "trainer._trainer.grad_scaler": "scaler",
    },
)
"""fvcore's, with the trainer as one of the things saved: the training loop itself, or one that holds it."""

_NANOGPT = Layout(
    framework="nanogpt",
    keys=frozenset({"iter_num", "model_args"}),
    step=("iter_num",),
    config=("config", "model_args"),
    best=("best_val_loss", "min"),
)

_NNUNET = Layout(
    framework="nnunet",
    keys=frozenset({"network_weights", "trainer_name"}),
    epoch=("current_epoch",),
    loss=("logging.train_losses.-1",),
    learning_rate=("logging.lrs.-1",),
    saved_at=("logging.epoch_end_timestamps.-1",),
    measured={
        "train_loss": "logging.train_losses.-1",
        "val_loss": "logging.val_losses.-1",
        "mean_fg_dice": "logging.mean_fg_dice.-1",
        "ema_fg_dice": "logging.ema_fg_dice.-1",
    },
    config=("init_args",),
    best=("ema_fg_dice", "max"),
)

_TORCHTUNE = Layout(
    framework="torchtune",
    keys=frozenset({"epochs_run", "total_epochs", "seed"}),
    epoch=("epochs_run",),
    step=("steps_run",),
)

_DEEPSPEED = Layout(
    framework="deepspeed",
    keys=frozenset({"ds_config", "ds_version"}),
    epoch=("epoch",),
    step=("global_steps", "global_step"),
    loss=("loss",),
    config=("ds_config", "args"),
    states={"module": "model", "data_sampler": "data", "buffer_names": "other", "param_shapes": "other"},
    rule=rules.deepspeed,
)

_MEGATRON = Layout(
    framework="megatron",
    keys=frozenset({"checkpoint_version", "args", "iteration"}),
    step=("iteration",),
    config=("args",),
    states={"opt_param_scheduler": "scheduler"},
    topology=(
        ("world_size", "args.world_size"),
        ("tensor_parallel", "args.tensor_model_parallel_size"),
        ("pipeline_parallel", "args.pipeline_model_parallel_size"),
        ("data_parallel", "args.data_parallel_size"),
        ("context_parallel", "args.context_parallel_size"),
        ("expert_parallel", "args.expert_model_parallel_size"),
    ),
)

_SB3 = Layout(
    framework="sb3",
    keys=frozenset({"data", "_stable_baselines3_version"}),
    step=("data.num_timesteps",),
    learning_rate=("data.learning_rate",),
    config=("data",),
    states={"policy": "model", "data": "other", "pytorch_variables": "other"},
)

_KERAS = Layout(
    framework="keras",
    keys=frozenset({"metadata", "config", "weights_file"}),
    learning_rate=("config.compile_config.optimizer.config.learning_rate",),
    saved_at=("metadata.date_saved",),
    config=("config",),
    states={"weights_file": "model", "config.compile_config": "optimizer"},
)

_MNIST = Layout(
    framework="mnist-helloworld",
    keys=frozenset({"epoch", "model_state_dict", "optimizer_state_dict", "loss", "accuracy", "model_config"}),
    epoch=("epoch",),
    loss=("loss",),
    config=("model_config",),
    best=("accuracy", "max"),
)

_STACK_WISE = Layout(
    framework="stack-wise",
    keys=frozenset({"rack_builder", "trunk_strategy"}),
    epoch=("epoch",),
    loss=("loss",),
    saved_at=("timestamp",),
    config=("config",),
    states={"rack_builder": "model", "training_history": "other", "activation_cache": "other"},
)

_RACK = Layout(
    framework="stack-wise",
    keys=frozenset({"stacks", "current_stacks", "precision_settings"}),
    saved_at=("timestamp",),
    config=("config",),
    states={"stacks": "model", "qlora_adapters": "model"},
)

_MLMANAGER = Layout(
    framework="mlmanager",
    keys=frozenset({"model_state_dict", "checkpoint_type", "best_metric", "metrics"}),
    epoch=("epoch",),
    loss=("metrics.loss", "metrics.train_loss"),
    saved_at=("timestamp",),
    metrics=("metrics",),
    config=("training_args", "model_metadata", "loss_function_info"),
    monitor=("monitor_metric",),
)

PLAIN = Layout(
    framework="",
    keys=frozenset(),
    epoch=("epoch", "current_epoch", "epoch_num", "n_epoch"),
    step=(
        "global_step",
        "step",
        "steps",
        "iteration",
        "iter_num",
        "iter",
        "iterations",
        "global_steps",
        "current_step",
        "num_updates",
        "n_iter",
        "it",
    ),
    loss=("loss", "train_loss", "training_loss", "metrics.loss", "metrics.train_loss"),
    learning_rate=("lr", "learning_rate"),
    saved_at=("save_timestamp", "saved_at", "timestamp"),
    metrics=("metrics",),
    config=("hyper_parameters", "hparams", "config", "model_config", "model_args", "args", "cfg", "config_snapshot"),
)
"""What remains: a file of nobody in particular, read by the keys that people use."""

LAYOUTS: tuple[Layout, ...] = (
    CKPT,
    _CKPT_BEFORE,
    _NEMO,
    LIGHTNING,
    _COMPOSER,
    _COMPOSER_WEIGHTS,
    _ULTRALYTICS,
    _FAIRSEQ,
    _NANOGPT,
    _MMENGINE,
    _MMCV,
    _NNUNET,
    _TORCHTUNE,
    _DEEPSPEED,
    _MEGATRON,
    _SB3,
    _KERAS,
    _MLMANAGER,
    _MNIST,
    _STACK_WISE,
    _RACK,
    _TIMM,
    _DETECTRON,
    _FVCORE,
    _IGNITE,
)
"""Rows in the order in which they are tried."""


def recognise(top: Mapping[Any, Any]) -> Layout:
    """The row that a file's top-level mapping is of; `PLAIN` when it is of none."""
    names = top.keys()
    for layout in LAYOUTS:
        if layout.keys <= names and all(at(top, place) is not None for place in layout.holds):
            return layout
    return PLAIN
