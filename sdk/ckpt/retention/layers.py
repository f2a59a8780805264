"""Which policy holds for a run: what different places ask for, field by field, the later place before the earlier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ckpt.records import Record
from ckpt.retention.policy import Policy

Layer = tuple[str, Mapping[str, Any]]
"""Where it is asked for (`run.json`, `command`, `config.toml` …), and the fields that are given there."""


class Merged(Record, frozen=True, kw_only=True):
    """A policy, and where each of its fields that somebody gave comes from."""

    policy: Policy = Policy()
    origins: dict[str, str] = msgspec.field(default_factory=dict)


def merge(layers: Iterable[Layer]) -> Merged:
    """The policy that layers make together, the weakest first. Raises StateError for what no policy can be."""
    fields: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, given in layers:
        for name, value in given.items():
            fields[name] = value
            origins[name] = origin
    return Merged(policy=Policy.from_json(fields), origins=origins)
