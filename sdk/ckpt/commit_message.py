"""The message that is kept with a checkpoint: a template of the config, filled in with the values of a save."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from ckpt.exceptions import StateError

MESSAGE_FIELDS = ("epoch", "step", "global_step", "loss", "learning_rate", "model_name", "experiment_name")
"""What a template may name, besides the metrics of the state."""


def check_template(template: Any) -> None:
    """Raises StateError for a template that cannot be filled in."""
    if not isinstance(template, str):
        raise StateError(f"commit_message_template is {template!r}, and has to be a string")
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise StateError(
            f"commit_message_template cannot be used: {error}", hint="a brace that is meant as text is written twice"
        ) from error
    for _, name, spec, _ in parts:
        # Attribute and item access would let a template read more than the values it is given.
        if name is not None and (not name or name.isdigit() or any(c in name for c in ".[]") or "{" in (spec or "")):
            raise StateError(
                f"commit_message_template names {{{name}}}, which stands for nothing",
                hint=f"use {', '.join(MESSAGE_FIELDS)} or the name of a metric",
            )


def filled(template: str, values: Mapping[str, Any]) -> str:
    """The message for these values; what is unknown or does not fit its format shows as `?`."""
    out = []
    for text, name, spec, conversion in string.Formatter().parse(template):
        out.append(text)
        if name is not None:
            out.append(_rendered(values.get(name), spec or "", conversion))
    return "".join(out)


def _rendered(value: Any, spec: str, conversion: str | None) -> str:
    if value is None:
        return "?"
    try:
        return format(repr(value) if conversion == "r" else str(value) if conversion else value, spec)
    except (ValueError, TypeError):
        return "?"
