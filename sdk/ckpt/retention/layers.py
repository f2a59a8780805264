"""Which policy holds for a run: what different places ask for, field by field, the later place before the earlier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ckpt.exceptions import StateError
from ckpt.records import Record
from ckpt.retention.policy import Policy
from ckpt.retention.reading import given

Layer = tuple[str, Mapping[str, Any]]
"""Where it is asked for (`run.json`, `command`, `config.toml` …), and the fields that are given there."""

GUESS = "guess"
"""The origin of a monitor that nobody named: what checkpoints record may be what they are compared by."""

_MONITOR = ("monitor", "mode", "unmonitored")
"""What travels together: a monitor of one place never has the direction that another place gave to another one."""


class Merged(Record, frozen=True, kw_only=True):
    """A policy, and where each of its fields that somebody gave comes from."""

    policy: Policy = Policy()
    origins: dict[str, str] = msgspec.field(default_factory=dict)
    """Field to origin; of `keep_best_of` also each metric, as `keep_best_of.accuracy`."""

    @property
    def guessed(self) -> bool:
        """Whether the monitor is but a guess."""
        return self.origins.get("monitor") == GUESS

    def only(self, origin: str) -> bool:
        """Whether nobody else has a say."""
        return set(self.origins.values()) <= {origin}


def merge(layers: Iterable[Layer]) -> Merged:
    """The policy that layers make together, the weakest first.

    A field of a later layer replaces the earlier one, and None (or "off") there switches its rule off. Monitor and mode
    go together; `keep_best_of` is merged metric by metric. A layer gives what `given` takes: of a whole policy every
    field is given. Raises StateError, naming the origin, for a layer that cannot be used.
    """
    fields: dict[str, Any] = {}
    origins: dict[str, str] = {}
    policy = Policy()
    for origin, raw in layers:
        try:
            said = given(raw)
            if "mode" in said and "monitor" in raw and "monitor" not in said:
                del said["mode"]  # the direction of no monitor
            _lay(fields, origins, origin, said)
            policy = Policy.from_json(fields)
        except StateError as error:
            raise StateError(f"{origin}: {error.message}", hint=error.hint) from error
    return Merged(policy=policy, origins=origins)


def _lay(fields: dict[str, Any], origins: dict[str, str], origin: str, said: Mapping[str, Any]) -> None:
    if "monitor" in said or said.get("unmonitored"):
        for name in _MONITOR:
            fields.pop(name, None)
            origins.pop(name, None)
    for name, value in said.items():
        if name == "keep_best_of":
            value = _best_of(fields.get(name), origins, origin, value)
        fields[name] = value
        origins[name] = origin


def _best_of(
    before: Mapping[str, Any] | None, origins: dict[str, str], origin: str, said: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    if said is None:
        for name in [name for name in origins if name.startswith("keep_best_of.")]:
            del origins[name]
        return None
    origins.update({f"keep_best_of.{metric}": origin for metric in said})
    return {**(before or {}), **said}
