"""A loader's position read from plain data, and proven before anything is changed by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ckpt.exceptions import FormatError, StateError
from ckpt.loaders.positions import VERSION, Position, ReaderState
from ckpt.saving.capture.generators import prove_random
from ckpt.saving.envelope.plain import from_plain

_HINT = "give what ResumableLoader.state_dict() told"
_MOST = 2**63 - 1


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
    contradiction = _contradiction(position)
    if contradiction is not None:
        raise StateError(f"the loader's state: {contradiction}", hint=_HINT)
    return position


def _contradiction(position: Position) -> str | None:
    """What in a position cannot be true of one loader; None when all can. Pure."""
    readers = position.readers
    if readers and position.next_reader >= len(readers):
        return f"next_reader is {position.next_reader}, and there are {len(readers)}"
    # Of an epoch that is over, what its readers gave goes over to the next; the position is that of neither.
    if not position.epoch_open or position.exhausted:
        return None
    if sum(reader.batches for reader in readers) > position.batch_idx:
        return f"its readers gave more batches than the {position.batch_idx} that were taken"
    if readers and all(reader.exhausted for reader in readers):
        return "all its readers are at their end, and it is not"
    sampler = position.sampler_state or {}
    if "order_version" in sampler and sampler.get("ended") and not sampler.get("pending"):
        return "its sampler is at its end, and it is not"
    sample, samples = position.sample_idx, position.samples
    if sample is not None and position.batch_idx > sample:
        return f"batch_idx is {position.batch_idx}, more than the {sample} samples in those batches"
    if sample is not None and samples is not None and sample >= samples:
        return f"sample_idx is {sample} of {samples}, and the epoch is not at its end"
    return None


def _wrong(value: Any, name: str, wanted: str) -> StateError:
    return StateError(f"the loader's state: {name} is {str(value)[:60]!r}, and has to be {wanted}", hint=_HINT)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise _wrong(value, name, "a whole number from 0 to 2**63 - 1")
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


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, name, "a list")
    return list(value)


def _sampler(value: Any, name: str) -> Mapping[str, Any]:
    state = _mapping(value, name)
    # Another's sampler tells what it wants; of ours the shapes are known.
    if "order_version" in state:
        for key in _SAMPLER_CHECKS.keys() & state.keys():
            _SAMPLER_CHECKS[key](state[key], f"{name}.{key}")
    return state


def _random(value: Any, name: str) -> Mapping[str, Any]:
    states = _mapping(value, name)
    try:
        prove_random(states)
    except StateError as error:
        raise StateError(f"the loader's state: {name}: {error.message}", hint=_HINT) from error
    return states


def _readers(value: Any, name: str) -> tuple[ReaderState, ...]:
    return tuple(_reader(item, f"{name}[{i}]") for i, item in enumerate(_list(value, name)))


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
        left=_flag(value.get("left", False), f"{name}.left"),
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
    "sampler_state": _or_none(_sampler),
    "dataset_state": lambda value, name: value,
    "readers": _readers,
    "next_reader": _whole,
    "at_start": _or_none(_mapping),
    "resumes_by": _or_none(_text),
}

_SAMPLER_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "pending": _list,
    "drawn": _whole,
    "ended": _flag,
    "over": _flag,
    "held": _or_none(_mapping),
    "carried": _or_none(_mapping),
    "first": _list,
    "order_version": _whole,
    "at_start": _or_none(_sampler),
    "generators": _or_none(_random),
}
