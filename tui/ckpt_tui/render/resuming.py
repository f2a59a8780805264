"""What a resume finds in a checkpoint, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt.formats.resuming import NONE_GIVEN, Resumption, generators, resumption
from ckpt_tui.wording import plural

_NO = "–"
_EFFECTS = {
    "rng": "shuffling and dropout will differ: no states of random generators",
    "rng.torch": "shuffling and dropout will differ: no state of torch's random generator",
    "rng.python": "what draws from Python's random will differ",
    "rng.numpy": "what draws from NumPy's random will differ",
    "rng.ranks": "some ranks have no states of random generators",
    "data": "the position in the data is not told",
}
_SHOWN = frozenset(
    {"model", "optimizer", "scheduler", "scaler", "loaders", "config", "model_config", "metrics_history"}
)
_OUTCOMES = {
    "exact": "resumes exactly, as far as can be told",
    "weights": "weights only",
    "partial": "states of a training, but no model",
    "nothing": "nothing to resume from",
}


def resume_verdict(found: Resumption) -> str:
    """How a training goes on from a checkpoint, as a sentence without its full stop."""
    if found.outcome == "differs":
        return "resumes, but " + "; ".join(_EFFECTS[part] for part in found.lacking)
    return _OUTCOMES[found.outcome]


def resume_rows(resume: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every part of a report with what is there of it; `resume` in the shape of `Inspection.resume`."""
    rng = resume.get("rng") or {}
    ranks = int(rng.get("ranks") or 0)
    random = ", ".join(generators(resume)) or _NO
    if ranks > 1:
        random += f"; {plural(ranks, 'rank')}"
    topology = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in (resume.get("topology") or {}).items())
    return [
        *((part, "yes" if resume.get(part) else _NO) for part in ("model", "optimizer", "scheduler", "scaler")),
        ("random", random),
        ("data position", "yes" if resume.get("data") else _NO),
        *([("topology", topology)] if topology else []),
        *_reported(resume),
    ]


def _reported(resume: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the writer captured besides the parts above, and what it left out; parts that nobody gave are shown so."""
    besides = [name for name in resume.get("captured") or () if name not in _SHOWN and not name.startswith("rng")]
    left_out = [f"{name}: {why}" for name, why in (resume.get("left_out") or {}).items() if why != NONE_GIVEN]
    rows = [("besides", ", ".join(besides))] if besides else []
    return [*rows, *([("left out", "; ".join(left_out))] if left_out else [])]


def resume_text(resume: Mapping[str, Any]) -> str:
    """The verdict of a report in one line."""
    return resume_verdict(resumption(resume))
