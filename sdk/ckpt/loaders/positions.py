"""The record of a loader's position: plain data in a checkpoint, validated before anything is changed by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from ckpt.exceptions import FormatError, StateError
from ckpt.saving.envelope.plain import from_plain, to_plain

VERSION = 1
_HINT = "give what ResumableLoader.state_dict() told"


@dataclass(frozen=True, kw_only=True)
class ReaderState:
    """What one reader of the data, a worker or the training's own process, had given when the position was told."""

    batches: int = 0
    """Batches of this epoch that it gave and the training took."""
    state: Any = None
    """What the data set or its iterator told of itself, None when they tell nothing."""
    of: str | None = None
    """Who told the state: "dataset", "iterator" or None."""
    since: int = 0
    """How many of the batches were given after the state was told."""
    exhausted: bool = False
    carried: bool = False
    """Whether the state is that of the end of the epoch before."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a loader is, and all that it needs to go on there."""

    batch_idx: int = 0
    """Batches of the epoch that the training took."""
    sample_idx: int | None = None
    """Samples in them, where the order is the loader's own."""
    exhausted: bool = False
    epoch: int | None = None
    """The epoch that is under way or next; None in a state of the four documented keys alone."""
    epoch_open: bool = False
    seed: int | None = None
    order: str | None = None
    num_workers: int | None = None
    batch_size: int | None = None
    samples: int | None = None
    prefetched: int = 0
    sampler_state: Mapping[str, Any] | None = None
    dataset_state: Any = None
    readers: tuple[ReaderState, ...] = ()
    next_reader: int = 0
    generators: Mapping[str, Any] | None = None
    """The training's random states when the epoch began, where samples have to be read again."""
    at_start: Mapping[str, Any] | None = None
    """What was told before the epoch began, where the epoch's number alone does not make it anew."""
    resumes_by: str | None = None
    caveats: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """The position as a dictionary."""
        told: dict[str, Any] = {"version": VERSION}
        for field in fields(self):
            told[field.name] = getattr(self, field.name)
        told["readers"] = [{f.name: getattr(reader, f.name) for f in fields(reader)} for reader in self.readers]
        told["caveats"] = list(self.caveats)
        return told

    def plain(self) -> dict[str, Any]:
        """The same as plain data. Raises StateError, naming the place, for a state that cannot be such."""
        return cast(dict[str, Any], to_plain(self.told(), "loader"))


def position_of(state: Any) -> Position:
    """The position in what `Position.plain` made, or in the four documented keys alone.

    Raises StateError that names what is wrong.
    """
    if not isinstance(state, Mapping):
        raise StateError(f"the loader's state is of type {type(state).__name__}, not a dictionary", hint=_HINT)
    if "batch_idx" not in state:
        raise StateError("the loader's state has no 'batch_idx'", hint=_HINT)
    version = _whole(state.get("version", VERSION), "version")
    if version > VERSION:
        raise StateError(f"the loader's state is of version {version}, and this is {VERSION}", hint="update ckptd")
    try:
        told = from_plain(dict(state), "the loader's state")
    except FormatError as error:
        raise StateError(error.message, hint=_HINT) from error
    known = {field.name for field in fields(Position)}
    found = {name: _CHECKS[name](told[name], name) for name in known if name in told}
    if "version" not in told and "epoch_open" not in told:
        found["epoch_open"] = found["batch_idx"] > 0 or found.get("exhausted", False)
    position = Position(**found)
    if position.readers and position.next_reader >= len(position.readers):
        raise StateError(
            f"the loader's state: next_reader is {position.next_reader}, and there are {len(position.readers)}",
            hint=_HINT,
        )
    return position


def _wrong(value: Any, name: str, wanted: str) -> StateError:
    return StateError(f"the loader's state: {name} is {str(value)[:60]!r}, and has to be {wanted}", hint=_HINT)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _wrong(value, name, "a whole number, 0 or more")
    return int(value)


def _seed(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, name, "a whole number")
    return int(value)


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, name, "True or False")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, name, "a text")
    return value


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(value, name, "a dictionary or None")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, name, "a list of texts")
    return tuple(_text(item, name) for item in value)


def _readers(value: Any, name: str) -> tuple[ReaderState, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, name, "a list")
    return tuple(_reader(item, f"{name}[{i}]") for i, item in enumerate(value))


def _reader(value: Any, name: str) -> ReaderState:
    if not isinstance(value, Mapping):
        raise _wrong(value, name, "a dictionary")
    of = value.get("of")
    if of not in (None, "dataset", "iterator"):
        raise _wrong(of, f"{name}.of", "'dataset', 'iterator' or None")
    reader = ReaderState(
        batches=_whole(value.get("batches", 0), f"{name}.batches"),
        state=value.get("state"),
        of=of,
        since=_whole(value.get("since", 0), f"{name}.since"),
        exhausted=_flag(value.get("exhausted", False), f"{name}.exhausted"),
        carried=_flag(value.get("carried", False), f"{name}.carried"),
    )
    if reader.since > reader.batches:
        raise _wrong(reader.since, f"{name}.since", f"at most its batches, {reader.batches}")
    return reader


def _or_none(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, name: None if value is None else check(value, name)


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "batch_idx": _whole,
    "sample_idx": _or_none(_whole),
    "exhausted": _flag,
    "epoch": _or_none(_whole),
    "epoch_open": _flag,
    "seed": _or_none(_seed),
    "order": _or_none(_text),
    "num_workers": _or_none(_whole),
    "batch_size": _or_none(_whole),
    "samples": _or_none(_whole),
    "prefetched": _whole,
    "sampler_state": _or_none(_mapping),
    "dataset_state": lambda value, name: value,
    "readers": _readers,
    "next_reader": _whole,
    "generators": _or_none(_mapping),
    "at_start": _or_none(_mapping),
    "resumes_by": _or_none(_text),
    "caveats": _texts,
}
