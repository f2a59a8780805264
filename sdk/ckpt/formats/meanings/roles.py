"""What the names at the top of a file tell: which kind of state stands under one, and which numbers are metrics."""

from __future__ import annotations

import re
from typing import Any, Literal

Role = Literal["model", "ema", "optimizer", "scheduler", "scaler", "rng", "data", "other"]

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


_SETTING = re.compile(
    r"^(num|n)_|_(weights?|scale|coeff?|every|freq|frequency|interval|sizes?|samples|batches|ratio|split|fraction|"
    r"patience|lr|seed|delta|smoothing|workers|bits)$"
    r"|^(max|min)_(?!.*(loss|acc|accuracy|score|f1|iou|miou|map|dice|reward|return|ppl|perplexity|error|auc|psnr)$)"
    r"|(^|_)(best|eval|val|test)(_(eval|val|test))?_(epochs?|steps?|iter|iters|iterations?|its?)$"
)
"""Names of settings and of places in a training that have a metric's word in them."""
_WIDTHS = frozenset({8, 16, 32, 64})


def is_metric(key: str, value: float) -> bool:
    """Whether a number under that name at the top of a file, or in a file's name, measures the model."""
    lowered = key.lower()
    if len(key) > 200 or _METRIC.search(lowered) is None or _SETTING.search(lowered) is not None:
        return False
    return not (lowered == "precision" and value in _WIDTHS)
