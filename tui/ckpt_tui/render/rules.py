"""The rules of a policy in a few words, as plans name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_tui.render.words import span
from ckpt_tui.wording import size_text


def rules_text(policy: Mapping[str, Any]) -> str:
    """The rules of a policy in a few words."""
    rules = ", ".join(_rules(policy))
    return f"keeps {rules}" if rules else "no rule: nothing is removed"


def is_ruled(policy: Mapping[str, Any]) -> bool:
    """Whether a policy has any rule; without one nothing is removed."""
    return bool(_rules(policy))


def _rules(policy: Mapping[str, Any]) -> list[str]:
    by = f" by {policy['monitor']}" if policy.get("monitor") else ""
    told = [
        _counted("last {}", policy.get("keep_last")),
        _counted(f"best {{}}{by}", policy.get("keep_best")),
        *(f"best {_number_of(best)} by {name}" for name, best in (policy.get("keep_best_of") or {}).items()),
        _counted("every {} epochs", policy.get("keep_every_n_epochs")),
        _counted("every {} steps", policy.get("keep_every_n_steps")),
        *(_stretch(every) for every in policy.get("keep_every") or ()),
        f"all within {span(float(policy['keep_within']))}" if policy.get("keep_within") else "",
        f"{len(policy['keep_steps'])} listed steps" if policy.get("keep_steps") else "",
        "what is tagged" if policy.get("keep_tagged") else "",
        f"what is younger than {span(float(policy['max_age']))}" if policy.get("max_age") else "",
        f"up to {size_text(int(policy['max_bytes']))}" if policy.get("max_bytes") else "",
    ]
    return [text for text in told if text]


def _counted(text: str, value: Any) -> str:
    return text.format(value) if value else ""


def _number_of(best: Any) -> Any:
    return best.get("keep", 1) if isinstance(best, Mapping) else best


def _stretch(every: Mapping[str, Any]) -> str:
    reach = f" for {span(float(every['within']))}" if every.get("within") else ""
    return f"one every {span(float(every.get('every') or 0))}{reach}"
