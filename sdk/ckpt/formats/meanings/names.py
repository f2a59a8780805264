"""What the name of a checkpoint tells: the last resort for step and epoch, where its content is silent.

A number counts only next to a word that says what it counts, or where the framework is known to put it: years, dates,
sizes of models and versions are no steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ckpt.formats.meanings.roles import is_metric


@dataclass(frozen=True, slots=True)
class Named:
    """Facts in a name; None and {} where it holds none."""

    step: int | None = None
    epoch: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    bare: bool = False
    """Whether the step is a number without a word: an epoch as often, where that is what the content counts."""


_WORDS = (
    re.compile(r"(?:^|[-_.=/])(?:global_?)?(?:steps?|iter|iteration)[-_=]?(?P<step>\d{1,12})(?![\dA-Za-z])", re.I),
    re.compile(r"(?:^|[-_])(?P<step>\d{2,12})[-_](?:steps?|iters?)(?=$|\.)", re.I),
    re.compile(r"(?:^|[-_.=/])(?:epochs?|ep)[-_=]?(?P<epoch>\d{1,9})(?![\dA-Za-z])", re.I),
)
"""Numbers beside a word that says what they count; the first of each kind wins."""

_COUNTED = re.compile(r"^(?:(?:checkpoint|ckpt)[-_](?P<step>\d{1,12})|model_(?P<padded>\d{3,12}))(?:$|\.(?!\d))", re.I)
"""A bare number behind the word for a checkpoint: a step, where nothing more is known."""

_DASHED = re.compile(r"^checkpoint-(?P<step>\d{1,12})$", re.I)
_DIGITS = re.compile(r"^(?:[A-Za-z][A-Za-z0-9_]{0,60}_)?(?P<step>\d{1,12})$")
_NOTHING: tuple[re.Pattern[str], ...] = ()

_HABITS: dict[str, tuple[re.Pattern[str], ...]] = {
    "transformers": (_DASHED,),
    "peft": (_DASHED,),
    "accelerate": (_DASHED,),  # its own `checkpoint_3` counts saves; scripts that count steps write a dash
    "ray": _NOTHING,
    "ignite": _NOTHING,  # its number is an epoch or an iteration, whichever event saved
    "timm": (
        re.compile(r"^checkpoint-(?P<epoch>\d{1,9})(?=$|\.)"),
        re.compile(r"^recovery-(?P<epoch>\d{1,9})-\d{1,12}(?=$|\.)"),
    ),
    "fairseq": (
        re.compile(r"^checkpoint(?P<epoch>\d{1,9})(?=$|[.-])"),
        re.compile(r"^checkpoint_(?P<epoch>\d{1,9})_(?P<step>\d{1,12})(?=$|[.-])"),
    ),
    "composer": (re.compile(r"(?:^|-)ep(?P<epoch>\d{1,9})-ba(?P<step>\d{1,12})(?=$|[-.])"),),
    "fvcore": (re.compile(r"_(?P<step>\d{7,12})(?=$|\.)"),),
    "keras": (re.compile(r"(?:^|[._-])(?P<epoch>\d{1,5})-\d{1,9}\.\d{1,9}(?=$|\.(?:keras|weights\.h5|h5)$)"),),
    "sb3": (re.compile(r"_(?P<step>\d{1,12})_steps(?=$|\.)"),),
    "orbax": (_DIGITS,),
    "lerobot": (_DIGITS,),
}
"""Where frameworks put a number that no word explains. Those that are named here mean nothing by any other."""

_NAMED_BY_METRICS = frozenset({"lightning", "nemo", "ignite"})
_NO_METRICS = frozenset({"fairseq"})  # its values in names have a digit of chance at their end
_NO_METRIC = re.compile(
    r"^(?:(?:global_?)?steps?|iter|iteration|epochs?|consumed_samples|seed|lr|learning_rate|bs|batch(?:_size)?|wd|"
    r"weight_decay|fold|rank|version|v|(?:e|ep|epoch|s|st|step)[-_ ]?(?:epoch|(?:global_?)?step))$",
    re.I,
)
_VALUE = re.compile(r"(?:^|[-,])([A-Za-z][A-Za-z0-9_/@. ]{0,80})=(-?\d{1,12}(?:\.\d{1,12})?(?:e[+-]?\d{1,3})?)", re.I)
_MONTH_AND_DAY = re.compile(r"[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)")
_BEHIND_NUMBER = re.compile(r"^(?P<prefix>.*?)(?:^|_)(?P<number>\d{1,12})_(?P<metric>[A-Za-z].*)$")


def from_name(name: str, framework: str = "") -> Named:
    """Step, epoch and `metric=value` pairs in the last part of a path, its suffix included or not.

    `framework` is who wrote it, where that is known: what a number means depends on it.
    """
    found: dict[str, int] = {}
    for pattern in (*_HABITS.get(framework, ()), *_WORDS):
        match = pattern.search(name)
        if match is None:
            continue
        for kind, digits in match.groupdict().items():
            if not _date(digits, name[match.end(kind) :]):
                found.setdefault(kind, int(digits))
    bare = False
    if not found and framework not in _HABITS and (match := _COUNTED.match(name)):
        digits = match["step"] or match["padded"]
        bare = not _calendar(digits) and not _clock(digits)
        if bare:
            found["step"] = int(digits)
    metrics, counted = _metrics(name, framework)
    if not found and counted is not None:
        found["epoch"] = counted
    epoch = found.get("epoch")
    return Named(found.get("step"), float(epoch) if epoch is not None else None, metrics, bare)


def _metrics(name: str, framework: str) -> tuple[dict[str, float], int | None]:
    """The metrics, and the number that stands right before one: evaluations at the end of an epoch are named so."""
    metrics: dict[str, float] = {}
    counted: int | None = None
    if framework in _NO_METRICS:
        return metrics, counted
    for key, value in _VALUE.findall(name):
        behind = _BEHIND_NUMBER.match(key)
        if behind is not None:
            key = behind["metric"]
        if _NO_METRIC.match(key) or not (framework in _NAMED_BY_METRICS or is_metric(key, float(value))):
            continue
        metrics[key] = float(value)
        if behind is not None and not _calendar(behind["number"]):
            counted = int(behind["number"])
    return metrics, counted


def _date(digits: str, behind: str) -> bool:
    """Whether a number beside a word is a date all the same: by its length, or as a year with month and day behind."""
    return _calendar(digits) and (len(digits) > 4 or _MONTH_AND_DAY.match(behind) is not None)


def _clock(digits: str) -> bool:
    """Whether a number looks like a time in Unix seconds."""
    return len(digits) == 10 and 1_000_000_000 <= int(digits) < 2_200_000_000


def _calendar(digits: str) -> bool:
    """Whether a number looks like a year or a date; 2000 is a number of steps more often than a year."""
    if len(digits) == 4:
        return 1980 <= int(digits) < 2040 and digits != "2000"
    if len(digits) in (8, 12):
        return 1980 <= int(digits[:4]) < 2040 and 1 <= int(digits[4:6]) <= 12 and 1 <= int(digits[6:8]) <= 31
    return False
