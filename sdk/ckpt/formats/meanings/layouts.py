"""Who wrote a single file, and where that writer keeps what: one row a framework, known by its dictionary's keys.

A place is a dotted path from the top of the file. The first place that holds a fitting value wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["model", "ema", "optimizer", "scheduler", "scaler", "rng", "data", "other"]


@dataclass(frozen=True)
class Layout:
    """One way of arranging a checkpoint. All `keys` stand at the top of a file that is of it."""

    framework: str
    keys: frozenset[str]
    epoch: tuple[str, ...] = ()
    step: tuple[str, ...] = ()
    loss: tuple[str, ...] = ()
    learning_rate: tuple[str, ...] = ()
    saved_at: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    """Mappings whose numbers are metrics."""
    config: tuple[str, ...] = ()
    """Mappings of hyper-parameters: the first is shown as it is, the others under their own names."""
    monitors: tuple[str, ...] = ()
    """Mappings of callbacks; one with a `monitor` and its `current_score` gives a metric."""


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
)

LIGHTNING = Layout(
    framework="lightning",
    keys=frozenset({"pytorch-lightning_version"}),
    epoch=("epoch",),
    step=("global_step",),
    config=("hyper_parameters", "datamodule_hyper_parameters"),
    monitors=("callbacks",),
)

PLAIN = Layout(
    framework="",
    keys=frozenset(),
    epoch=("epoch", "current_epoch", "epochs", "epoch_num", "n_epoch"),
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

LAYOUTS: tuple[Layout, ...] = (CKPT, LIGHTNING)
"""Rows in the order in which they are tried; `PLAIN` is what remains."""


def recognise(top: Mapping[Any, Any]) -> Layout:
    """The row that a file's top-level mapping is of."""
    for layout in LAYOUTS:
        if all(key in top for key in layout.keys):
            return layout
    return PLAIN


_ROLES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    ("scheduler", re.compile(r"sched|lr_lambda|warmup")),
    ("optimizer", re.compile(r"optim|(^|_)opt(_|s?$|\d)")),
    ("scaler", re.compile(r"scaler|(^|_)amp(_|$)|mixedprecision")),
    ("rng", re.compile(r"(^|_)rng|random_state|rng(_|$)|(^|_)seed")),
    ("data", re.compile(r"loader|sampler|iterator|dataset_state|data_state|(^|_)loops$")),
    ("ema", re.compile(r"(^|_)ema(_|$)|(^|_)shadow|swa_|averaged")),
    (
        "model",
        re.compile(r"model|state_dict|(^|_)nets?(_|$)|network|module|weight|(^|_)params?(_|$)|generator|discriminator"),
    ),
)
_NOT_WEIGHTS = re.compile(r"config|args|version|class|name|history|path|_id$")


def role(key: Any) -> Role:
    """What kind of state a key at the top of a file holds, by its name."""
    if type(key) is not str or len(key) > 200:
        return "other"
    lowered = key.lower()
    for kind, pattern in _ROLES:
        if pattern.search(lowered):
            return "other" if kind == "model" and _NOT_WEIGHTS.search(lowered) else kind
    return "other"


_METRIC = re.compile(
    r"(^|[_./-])(loss|acc\d*|accuracy|error|err|f1|auc|auroc|map\d*|miou|iou|dice|bleu|rouge\w*|meteor|score|metric|"
    r"perplexity|ppl|mae|mse|rmse|mape|r2|wer|cer|fid|psnr|ssim|lpips|nll|bpb|bpc|elbo|kl|reward|fitness|return|"
    r"recall|precision|top\d+|val|best|eval|ndcg|mrr|hit|em|mcc)($|[_./-]|@)"
)


def is_metric(key: str) -> bool:
    """Whether a number under that name at the top of a file measures the model."""
    return len(key) <= 200 and _METRIC.search(key.lower()) is not None
