"""Which checkpoints of a foreign run follow each other: one training, saved again and again under names that count."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ckpt.paths import is_cut, is_step
from ckpt.records import Checkpoint

Series = tuple[str, str, str]
"""Framework, directory, and the name in which every number that counts is `#`."""

_Span = tuple[int, int]
_Count = tuple[int, int, str]
"""Where a number stands, and what it counts: `step`, `epoch`, `save` (either, as `checkpoint-3`) or `other`."""
_Blank = tuple[int, int, str]
"""Where a number stands, and what takes its place."""

_COUNT = re.compile(
    r"(?:(?<![a-z])(?:(?:global_?)?steps?|epochs?|iterations?|iters?|checkpoint|ckpt|updates?|consumed_samples)"
    r"|(?<![a-z0-9])(?:ep|e|it|ba))"
    r"(?:[-_.]?(\d{1,12})(?![\da-z]|\.\d)|=(\d{1,12}(?:\.\d{1,6})?)(?![\da-z]))"
    r"|(?<![a-z])(?:epoch|ep)[-_]?(\d{1,9}\.\d{1,6})(?![\da-z])",
    re.IGNORECASE,
)
"""A number behind the word for what it counts."""
_BATCH = re.compile(r"(?<![a-z])batch[-_=.]?(\d{1,12})(?![\da-z])", re.IGNORECASE)
_STEPS = re.compile(r"(?<![\da-z.])(\d{1,12})[-_](?:steps?|iters?)(?=$|\.)", re.IGNORECASE)
_SETTING = re.compile(
    r"(?:^|[^a-z])(?:max|min|num|n|total|warmup|accum|accumulation|grad|gradient|decay|every|of)[-_]?$", re.IGNORECASE
)
"""Before a word that counts: the number is a setting of the training, and no place in it."""

_NAMED_VALUE = re.compile(r"([a-z][a-z0-9_/@. ]*)=(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?![\da-z])", re.IGNORECASE)
_METRICS = (
    r"loss|acc\d*|accuracy|error|err|f1|auc|auroc|miou|bleu|rouge\w*|meteor|score|perplexity|ppl|"
    r"mae|mse|rmse|mape|r2|wer|cer|fid|psnr|ssim|lpips|nll|bpb|bpc|elbo|reward|fitness|recall|precision|ndcg|mrr|mcc"
)
_METRIC = re.compile(rf"(?:^|[^a-z])(?:{_METRICS})(?:[@_.]?\w{{0,4}})?$", re.IGNORECASE)
_EVALUATED = re.compile(r"^(?:val|valid|validation|test)[_/.]", re.IGNORECASE)
_MEASURED = re.compile(r"-?\d+\.\d{2,}(?:e[+-]?\d+)?", re.IGNORECASE)
"""A number as metrics are mostly written into names; thresholds, weights and counts are shorter."""
_NO_METRIC = re.compile(
    r"(?:weights?|scale|coeff?|every|freq|frequency|interval|sizes?|samples|batches|ratio|split|fraction|patience|lr|seed|"
    r"delta|smoothing|workers|bits)$",
    re.IGNORECASE,
)
_PLAIN_VALUE = re.compile(
    rf"(?<![a-z])(?:val|valid|train|test)?(?:{_METRICS})[-_]?(-?\d+\.\d+)(?![\da-z])", re.IGNORECASE
)

_HABITS = {
    "timm": re.compile(r"^recovery-(\d{1,9})-(\d{1,12})(?=$|\.)"),
    "fairseq": re.compile(r"^checkpoint_(\d{1,9})_(\d{1,12})(?=$|[-.])"),
    "fvcore": re.compile(r"_(\d{7,12})(?=$|\.)"),
    "keras": re.compile(r"(?:^|[._-])(\d{1,5})-(\d{1,9}\.\d{1,9})(?=$|\.(?:keras|weights\.h[05]|h[05])$)"),
    "orbax": re.compile(r"^(?:(?:ckpt|checkpoint|step|iter)_)?(\d{1,12})$"),
    "lerobot": re.compile(r"^(\d{1,12})$"),
}
"""Where frameworks put counts that no word explains."""
_HABIT_KINDS = {"timm": ("epoch", "other"), "fairseq": ("epoch", "step"), "keras": ("epoch", "other")}
_BY_THEIR_OWN = frozenset({"accelerate", "ray"})
"""Frameworks that number their saves, whatever the step."""

_NUMBER = re.compile(r"(?<![\d.])\d{1,15}(?!\.?\d|[A-Za-z])")
_BEYOND = 1e15
"""No training counts so far; a file may say anything."""
_DIGIT = re.compile("[0-9]")
_ZEROS = str.maketrans("123456789", "000000000")
_MONTH_AND_DAY = re.compile(r"[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)")


def series_of(checkpoint: Checkpoint) -> Series:
    """The series that a checkpoint belongs to.

    Names of one series differ in counts and in values of metrics alone: `fold_0_epoch_1.pt` and `fold_1_epoch_1.pt` are
    of two. A number without a word counts where the checkpoint itself records it as its step or epoch. The directory
    of a step is a part of the name, so that `step-1/model.pt` and `step-2/model.pt` are of one series.
    """
    path = checkpoint.path
    layout = _layout(path.translate(_ZEROS), checkpoint.framework)
    counts = layout.counts
    if layout.may_be_dates:
        counts = tuple(count for count in counts if not _is_date(path, count[:2]))
    blanks = [(*span, "#") for span in layout.values]
    blanks += _counted(checkpoint, counts) if counts else _recorded(checkpoint, layout)
    name, start = "", layout.start
    for begin, end, blank in sorted(blanks):
        name += path[start:begin] + blank
        start = end
    return checkpoint.framework, path[: layout.above], name + path[start:]


def beginning_of(checkpoint: Checkpoint) -> tuple[str, str, str]:
    """What names that are alike begin with, up to a digit: `checkpoint-500-merged` is named like `checkpoint-500`."""
    path = checkpoint.path
    layout = _layout(path.translate(_ZEROS), checkpoint.framework)
    directory, _, name = path[layout.start :].rpartition("/")
    return path[: layout.above], _DIGIT.split(directory, maxsplit=1)[0], _DIGIT.split(name, maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where in a path the parts stand that tell its series; spans are of the whole path and do not overlap."""

    above: int
    """The end of the directory that stands for no step."""
    start: int
    """The beginning of the rest, which does, and of the name."""
    counts: tuple[_Count, ...]
    values: tuple[_Span, ...]
    may_be_dates: bool


@lru_cache(maxsize=4096)
def _layout(shape: str, framework: str) -> _Layout:
    """The layout of all paths that differ in their digits alone; in `shape` every digit is a 0."""
    directory = shape.rpartition("/")[0]
    above = directory
    while is_cut(above):
        above = above.rpartition("/")[0]
    if is_step(above):
        above = above.rpartition("/")[0]
    start = len(above) + 1 if shape.startswith("/", len(above)) else len(above)
    text = shape[start:]
    counts = _counts(text, framework)
    values = [span for span in _values(text) if not any(_overlap(span, count[:2]) for count in counts)]
    return _Layout(
        len(above),
        start,
        tuple((start + begin, start + end, kind) for begin, end, kind in counts),
        tuple((start + begin, start + end) for begin, end in values),
        any(end - begin in (4, 8, 10, 12) for begin, end, _ in counts),
    )


def _counts(text: str, framework: str) -> list[_Count]:
    """Where the numbers stand that a word, or a habit of the framework, says to be counts."""
    found: list[_Count] = []

    def add(spans: Iterable[_Count]) -> None:
        found.extend(span for span in spans if not any(_overlap(span[:2], known[:2]) for known in found))

    add((*m.span(m.lastindex or 0), _kind(m[0])) for m in _COUNT.finditer(text) if not _is_setting(text, m.start()))
    habit = _HABITS.get(framework)
    matched = None if habit is None else habit.search(text)
    if habit is not None and matched is not None:
        kinds = _HABIT_KINDS.get(framework, ("step",) * habit.groups)
        add((*matched.span(group), kind) for group, kind in enumerate(kinds, 1))
    # Behind another count it is the place in an epoch, before one the size of a batch.
    add([(*s, "other") for match in _BATCH.finditer(text) if not found or min(found)[:2] < (s := match.span(1))])
    add((*match.span(1), "step") for match in _STEPS.finditer(text))
    return found


def _kind(said: str) -> str:
    word = said.lower()
    if word.startswith("e"):
        return "epoch"
    return "save" if word.startswith(("checkpoint", "ckpt")) else "other" if word.startswith("consumed") else "step"


def _counted(checkpoint: Checkpoint, counts: Sequence[_Count]) -> list[_Blank]:
    """The numbers with a word that are counts of this checkpoint: of the step or epoch that it records.

    `fold1_epoch_3` may as well be called `e1_epoch_3` or `iter1_epoch_3`: a number that is not what is recorded is a
    part of the name. Of two that are, the later one counts.
    """
    step, epoch = checkpoint.step, checkpoint.epoch
    if (step is None and epoch is None) or checkpoint.framework in _BY_THEIR_OWN:
        return [(begin, end, "#") for begin, end, _ in counts]
    blanks: list[_Blank] = []
    for recorded, kinds, alone in ((step, ("step", "save"), ("step", "save")), (epoch, ("epoch", "save"), ("epoch",))):
        if recorded is None or not abs(recorded) < _BEYOND:
            # What is not recorded is what the name says.
            blanks += [(begin, end, "#") for begin, end, kind in counts if kind in alone]
            continue
        near: dict[float, _Blank] = {}
        for begin, end, kind in sorted(counts):
            ahead = float(checkpoint.path[begin:end]) - recorded if kind in kinds else math.inf
            if ahead in (-1, 0, 1):
                near[ahead] = (begin, end, f"#{ahead:+.0f}" if ahead else "#")
        if near:
            blanks.append(near[min(near, key=abs)])
    if blanks:
        blanks += [(begin, end, "#") for begin, end, kind in counts if kind == "other"]
    return list({blank[:2]: blank for blank in reversed(blanks)}.values())


def _overlap(one: _Span, other: _Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _is_setting(text: str, start: int) -> bool:
    return start > 0 and text[start - 1] in "-_" and _SETTING.search(text, max(0, start - 16), start) is not None


def _is_date(path: str, span: _Span) -> bool:
    """Whether a number is a year with month and day behind it, a date, or a time in Unix seconds."""
    digits = path[span[0] : span[1]]
    if len(digits) not in (4, 8, 10, 12) or not digits.isdecimal():
        return False
    if len(digits) == 10:
        return 1_000_000_000 <= int(digits) < 2_200_000_000
    if not 1980 <= int(digits[:4]) < 2040:
        return False
    if len(digits) == 4:
        return _MONTH_AND_DAY.match(path, span[1]) is not None
    return 1 <= int(digits[4:6]) <= 12 and 1 <= int(digits[6:8]) <= 31


def _values(text: str) -> list[_Span]:
    """Where the values of metrics stand."""
    found = [match.span(2) for match in _NAMED_VALUE.finditer(text) if _measures(match[1], match[2])]
    return found + [span for match in _PLAIN_VALUE.finditer(text) if (span := match.span(1)) not in found]


def _measures(name: str, value: str) -> bool:
    """Whether a named value is that of a metric: `val_loss=0.71`, and neither `val_fold=0` nor `kl=0.5`."""
    if "." not in value or _NO_METRIC.search(name) is not None:
        return False
    if _METRIC.search(name) is not None:
        return True
    return _EVALUATED.search(name) is not None and _MEASURED.fullmatch(value) is not None


def _recorded(checkpoint: Checkpoint, layout: _Layout) -> list[_Blank]:
    """The one number that is the checkpoint's own step, else its epoch or the one beside it, with how it is blanked.

    Names that are ahead of their epoch by one are of another series than those that are not: a seed that happens to be
    near the epoch of a finished training is no count. None where two numbers could be meant.
    """
    spans = [match.span() for match in _NUMBER.finditer(checkpoint.path, layout.start)]
    numbers = [(s, int(checkpoint.path[s[0] : s[1]])) for s in spans if not any(_overlap(s, v) for v in layout.values)]
    steps = [span for span, number in numbers if number == checkpoint.step]
    if steps:
        return [(*steps[0], "#")] if len(steps) == 1 else []
    epoch = checkpoint.epoch
    if epoch is None or not abs(epoch) < _BEYOND:
        return []
    near = [(span, number - epoch) for span, number in numbers if number - epoch in (-1, 0, 1)]
    return [(*span, f"#{ahead:+.0f}" if ahead else "#") for span, ahead in near] if len(near) == 1 else []
