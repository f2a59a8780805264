"""Rehearsals of policies as people can judge them: with what is held now, without metrics of no plain direction."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

_PLAIN = frozenset(
    (
        *("loss", "nll", "ppl", "perplexity", "error", "mse", "rmse", "mae", "wer", "cer", "fid", "bpb"),
        *("acc", "accuracy", "f1", "auc", "auroc", "ap", "map", "iou", "miou", "dice", "precision", "recall"),
        *("bleu", "rouge", "meteor", "chrf", "psnr", "ssim", "r2", "mcc", "score", "reward", "top1", "top5"),
    )
)
"""Words of a metric's name that say whether more of it is better."""


def is_plain(metric: str) -> bool:
    """Whether a metric's name says which way it gets better: `val_loss`, and not `eval_runtime`."""
    words = re.findall(r"[a-z]+\d*", metric.lower())
    return any(word in _PLAIN or word.endswith("loss") for word in words) and words[-1] != "second"


def judged(rehearsals: Sequence[Json], held: Collection[str]) -> list[dict[str, Any]]:
    """Rehearsals at whose end what is held now is kept, with `held` of how many that is so.

    Of metrics that none of them goes by only those count whose direction is plain. `held` are ids of checkpoints.
    """
    ruled = {best["metric"] for rehearsal in rehearsals for best in rehearsal["bests"] if best["monitored"]}
    return [_judged(rehearsal, held, ruled) for rehearsal in rehearsals]


def _judged(rehearsal: Json, held: Collection[str], ruled: Collection[str]) -> dict[str, Any]:
    stays = [item for item in rehearsal["removed"] if item["id"] in held]
    bests = [best for best in rehearsal["bests"] if best["metric"] in ruled or is_plain(str(best["metric"]))]
    return {
        **rehearsal,
        "kept": [*rehearsal["kept"], *stays],
        "kept_bytes": rehearsal["kept_bytes"] + sum(int(item["bytes"]) for item in stays),
        "removed": [item for item in rehearsal["removed"] if item["id"] not in held],
        "bests": [_with_held(best, held) for best in bests],
        "held": len(stays),
    }


def _with_held(best: Json, held: Collection[str]) -> Json:
    if best["kept"] or best["checkpoint"]["id"] not in held:
        return best
    return {**best, "kept": True, "left": best["value"]}
