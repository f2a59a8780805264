"""The address grammar: how a person names a run or a checkpoint.

    ADDRESS   PATH | ID | RUN | RUN@SELECTOR
    RUN       shortest unique suffix of its path (exp3, runs/exp3), or an id or its unique beginning
    SELECTOR  latest | best | best:METRIC | best-N | step:N | epoch:N | ~N | TAG | NAME (of its file or directory)

A bare RUN means RUN@latest where one checkpoint is wanted. Paths are recognised by the caller, who can look at the
disk; this module only decides over records.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ckpt.encoding import printable
from ckpt.exceptions import AddressError
from ckpt.records import Checkpoint, Run

_ID = re.compile(r"^[0-9a-f]{6,64}$")
RESERVED_TAG = re.compile(r"^(latest|last|best(-\d+)?)$")
"""Tags that move by themselves, and so are selectors and not the user's."""


@dataclass(frozen=True)
class Address:
    """A parsed address: a run's name and, if any, the selector behind the last @."""

    run: str
    selector: str | None = None

    def __str__(self) -> str:
        return self.run if self.selector is None else f"{self.run}@{self.selector}"


def parse(text: str) -> Address:
    """Splits an address. Raises AddressError when it is empty or has an empty part."""
    run, at, selector = text.rpartition("@")
    if not at:
        run, selector = text, ""
    if not run or (at and not selector):
        raise AddressError(
            f"'{printable(text)}' is no address",
            hint="an address is a path, an id, RUN, or RUN@SELECTOR such as exp3@best or exp3@step:4000",
        )
    return Address(run.rstrip("/") or run, selector if at else None)


def _suffixes(run: Run) -> list[str]:
    parts = [part for part in run.path.split("/") if part]
    return ["/".join(parts[i:]) for i in range(len(parts))]


def short_names(runs: Sequence[Run]) -> dict[str, str]:
    """For each run id the shortest suffix of its path that names no other run."""
    owners: dict[str, set[str]] = {}
    for run in runs:
        for suffix in _suffixes(run):
            owners.setdefault(suffix, set()).add(run.id)
    names: dict[str, str] = {}
    for run in runs:
        fitting = [s for s in reversed(_suffixes(run)) if owners[s] == {run.id}]
        names[run.id] = fitting[0] if fitting else run.id[:12]
    return names


def find_run(name: str, runs: Sequence[Run]) -> Run:
    """The run that a name stands for.

    Raises AddressError: ambiguous, with the candidates; or unknown, with the nearest names that exist.
    """
    wanted = name.strip("/") if name != "/" else name
    found = [run for run in runs if run.id == name]
    found = found or [run for run in runs if run.path == name or wanted in _suffixes(run)]
    # Where a run lies comes before what it was called when it was made: a copy is called like its original.
    found = found or [run for run in runs if run.name == name]
    if not found and _ID.match(name):
        found = [run for run in runs if run.id.startswith(name)]
    unique = {run.id: run for run in found}
    if len(unique) == 1:
        return next(iter(unique.values()))
    names = short_names(runs)
    if unique:
        options = sorted(names[run_id] for run_id in unique)
        raise AddressError(
            f"'{printable(name)}' names {len(unique)} runs",
            hint="say which: " + ", ".join(printable(option) for option in options[:8]),
            candidates=options,
        )
    raise AddressError(
        f"no run is named '{printable(name)}'",
        hint=_nearest(name, [*names.values(), *(run.name for run in runs)], "run"),
        candidates=sorted(set(names.values()))[:50],
    )


EXPORT = "export"
"""Label of a foreign checkpoint that holds a model's weights for use, and nothing to go on from."""


_LARGEST = sys.float_info.max
_NUMBER = re.compile(r"[0-9]{1,18}")
_COPIED_S = 2.0
"""Files that were all written within this time were copied or unpacked: their times say nothing of their order."""


def newest_first(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Checkpoints by the order of a run, newest first.

    Own runs number their saves; foreign ones go by the trainer's own pointers, then completion time, then step and
    epoch, exports of a model behind all others. Where the times of all are about the same, step and epoch go first.
    """
    given = list(checkpoints)
    saves = [c.seq for c in given if c.seq is not None]
    if len(saves) == len(given):
        if all(map(operator.gt, saves, saves[1:])):
            return given
        if len(set(saves)) == len(given):
            return sorted(given, key=operator.attrgetter("seq"), reverse=True)
    place = _place_in_time(given)
    return sorted(
        given,
        key=lambda c: (
            c.label != EXPORT,
            c.pointed or c.state == "writing",
            c.seq if c.seq is not None else -1,
            place(c),
            c.id,
        ),
        reverse=True,
    )


def _place_in_time(given: Iterable[Checkpoint]) -> Callable[[Checkpoint], tuple[float | tuple[int, ...], ...]]:
    """What foreign checkpoints are ordered by, as far as all that are whole know it."""
    whole = [c for c in given if c.state == "complete" and c.label != EXPORT]
    times = [c.saved_at for c in whole]
    if len(whole) > 1 and max(times) - min(times) <= _COPIED_S:
        if all(c.step is not None for c in whole):
            return lambda c: (_counted(c.step, c), _counted(c.epoch, c), _numbers(c), _time(c))
        if all(c.epoch is not None for c in whole):
            return lambda c: (_counted(c.epoch, c), _counted(c.step, c), _numbers(c), _time(c))
    return lambda c: (_time(c), -1 if c.step is None else c.step, _counted(c.epoch, c))


def _time(checkpoint: Checkpoint) -> float:
    """When it was saved, for comparing; what is no time is before all others."""
    return -math.inf if math.isnan(checkpoint.saved_at) else checkpoint.saved_at


def _counted(number: float | None, checkpoint: Checkpoint) -> float:
    """A step or an epoch for comparing. What is being written is ahead of the others before it knows its own."""
    if number is None or math.isnan(number):
        return math.inf if checkpoint.state == "writing" else -1.0
    return number


def _numbers(checkpoint: Checkpoint) -> tuple[int, ...]:
    """The numbers in its name, which tell the order of several of one epoch."""
    return tuple(map(int, _NUMBER.findall(checkpoint.path.rpartition("/")[2])))


def best_first(checkpoints: Iterable[Checkpoint], metric: str, mode: Literal["min", "max"]) -> list[Checkpoint]:
    """Complete checkpoints with a finite value of the metric, best first; of equals the newer."""
    ordered = newest_first(c for c in checkpoints if c.state == "complete")
    return [ordered[place] for place in ranking([c.value(metric) for c in ordered], mode)]


def ranking(values: Sequence[float | None], mode: Literal["min", "max"]) -> list[int]:
    """The places of the finite values, best first; of equals the earlier."""
    finite = [place for place, value in enumerate(values) if value is not None and -_LARGEST <= value <= _LARGEST]
    return sorted(finite, key=lambda place: values[place] or 0.0, reverse=mode == "max")


def _names(checkpoint: Checkpoint) -> set[str]:
    """The names of its files as they stand in a listing, with and without suffix."""
    names = {path.rpartition("/")[2] for path in (checkpoint.path, *checkpoint.files)}
    return names | {name.rpartition(".")[0] for name in names if "." in name[1:]}


def select(selector: str | None, checkpoints: Sequence[Checkpoint], run: Run) -> Checkpoint:
    """The checkpoint of a run that a selector stands for; None means latest.

    Raises AddressError that says what exists.
    """
    name = printable(run.name)
    complete = newest_first(c for c in checkpoints if c.state == "complete")
    if not checkpoints:
        raise AddressError(f"run '{name}' has no checkpoints")
    text = selector or "latest"
    if text in ("latest", "last"):
        return _nth(complete, 0, f"run '{name}' has no complete checkpoint")
    if text.startswith("~"):
        back = _number(text[1:] or "1", text, whole=True)
        return _nth(complete, int(back), f"run '{name}' has {len(complete)} complete checkpoints")
    if RESERVED_TAG.fullmatch(text) or text.startswith("best:"):
        return _select_best(text, checkpoints, run)
    kind, colon, value = text.partition(":")
    if colon and kind in ("step", "epoch"):
        wanted = _number(value, text)
        fitting = [c for c in newest_first(checkpoints) if getattr(c, kind) == wanted]
        whole = [c for c in fitting if c.state == "complete"]
        if fitting:
            return (whole or fitting)[0]
        known = sorted({v for c in checkpoints if (v := getattr(c, kind)) is not None})
        near = sorted(known, key=lambda v: abs(v - wanted))[:5]
        raise AddressError(
            f"run '{name}' has no checkpoint of {kind} {value}",
            hint=f"nearest: {', '.join(f'{v:g}' for v in sorted(near))}" if near else f"none has {kind} recorded",
        )
    tagged = [c for c in checkpoints if text in c.tags]
    if tagged:
        return newest_first(tagged)[0]
    called = [c for c in checkpoints if text in _names(c)]
    if called:
        return newest_first(called)[0]
    if _ID.match(text):
        by_id = [c for c in checkpoints if c.id.startswith(text)]
        if len(by_id) == 1:
            return by_id[0]
    tags = sorted({tag for c in checkpoints for tag in c.tags})
    raise AddressError(
        f"run '{name}' has nothing at '{printable(text)}'",
        hint=_nearest(text, [*tags, "latest", "best"], "selector"),
    )


def _select_best(text: str, checkpoints: Sequence[Checkpoint], run: Run) -> Checkpoint:
    name = printable(run.name)
    rank, metric = 1, run.monitor or "loss"
    if text.startswith("best-"):
        rank = int(_number(text[5:], text))
    elif text.startswith("best:"):
        metric = text[5:]
    mode = run.mode if metric == (run.monitor or "loss") else mode_for(metric)
    ranked = best_first(checkpoints, metric, mode)
    if not ranked:
        known = sorted({key for c in checkpoints for key in c.metrics})
        raise AddressError(
            f"run '{name}' has no complete checkpoint with a finite '{printable(metric)}'",
            hint=_nearest(metric, known, "metric") if known else "no metric is recorded in it",
        )
    return _nth(ranked, rank - 1, f"run '{name}' has {len(ranked)} checkpoints with '{printable(metric)}'")


def mode_for(metric: str) -> Literal["min", "max"]:
    """Direction of a metric that nobody gave one: names that speak of loss or error are minimised."""
    lowered = metric.lower()
    falling = ("loss", "error", "perplexity", "ppl", "mse", "rmse", "mae", "wer", "cer", "fid", "nll", "bpb")
    return "min" if any(re.search(rf"(^|[^a-z]){word}([^a-z]|$)|loss$", lowered) for word in falling) else "max"


def _number(text: str, selector: str, *, whole: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (whole and not value.is_integer()):
        raise AddressError(f"'{printable(selector)}' needs a number, such as step:4000, best-2 or ~1")
    return value


def _nth(items: Sequence[Checkpoint], index: int, problem: str) -> Checkpoint:
    if not 0 <= index < len(items):
        raise AddressError(problem)
    return items[index]


def _nearest(asked: str, known: Iterable[str], what: str) -> str | None:
    names = list(dict.fromkeys(known))
    if not names:
        return f"no {what} is known yet"
    near = difflib.get_close_matches(asked, names, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(printable(n) for n in near) + "?"
    return f"known: {', '.join(printable(n) for n in names[:8])}" + (" …" if len(names) > 8 else "")
