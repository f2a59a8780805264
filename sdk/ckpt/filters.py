"""The filter language of `ckpt ls --filter`, and the order of `--sort`: pure, over plain fields.

    FILTER   TERM | not FILTER | FILTER and FILTER | FILTER or FILTER | ( FILTER )
    TERM     NAME OP VALUE      val_loss<0.2   size>1GB   age<2d   state=complete   tag=paper   name=step-*
             has:NAME           the row has a value there, finite or not, that is neither empty nor false
             PATTERN            a glob over what the row is called: exp*   step-00*
    OP       <  <=  >  >=  =  ==  !=

`not` binds tighter than `and`, `and` tighter than `or`. Names and values with other characters stand in quotes. Text
is compared as a glob, without regard to case. A row without the field fits no comparison; `not has:NAME` finds it.
NaN is neither below nor above anything; `NAME=nan` finds it.
"""

from __future__ import annotations

import fnmatch
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.records import Checkpoint, Run, Verdict

Value = float | int | str | bool | tuple[str, ...] | None
Fields = Mapping[str, Value]
"""What a row says of itself, by name; None and a missing name mean the same."""

Item = TypeVar("Item")

NAMES = "names"
"""Field that holds everything a row is called; a bare PATTERN looks there."""

MAX_DEPTH = 50  # nested parentheses and nots

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<op><=|>=|==|!=|<|>|=)
    | (?P<paren>[()])
    | "(?P<double>[^"]*)"
    | '(?P<single>[^']*)'
    | (?P<word>[^\s<>=!()"']+)
    )""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([a-z]*)$", re.IGNORECASE)
_UNITS: dict[str, float] = {
    "": 1,
    "b": 1,
    "k": 1e3,
    "kb": 1e3,
    "m": 1e6,
    "mb": 1e6,
    "g": 1e9,
    "gb": 1e9,
    "t": 1e12,
    "tb": 1e12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_AGES: dict[str, float] = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_SPECIAL = {"nan": math.nan, "inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Filter:
    """A parsed filter."""

    text: str
    names: frozenset[str]
    """Fields that it asks for, without those that globs stand for."""
    _test: Callable[[Fields], bool]

    def matches(self, fields: Fields) -> bool:
        """Whether a row fits."""
        return self._test(fields)


def parse(text: str) -> Filter:
    """The filter that a text says. Raises UsageError that points at the place where it cannot be read."""
    return _Parser(text).parse()


@dataclass(frozen=True)
class _Token:
    kind: Literal["op", "paren", "quoted", "word", "end"]
    text: str
    at: int


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set()
        self.tokens = self._split(text)
        self.next = 0

    def _split(self, text: str) -> list[_Token]:
        tokens: list[_Token] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                start = at + len(text[at:]) - len(text[at:].lstrip())
                what = "a quote that is never closed" if text[start] in "\"'" else f"unexpected {text[start]!r}"
                raise self.error(what, start)
            kind = match.lastgroup or "word"
            word = match[kind]
            start = match.start(kind)
            if kind in ("double", "single"):
                tokens.append(_Token("quoted", word, start - 1))
            elif kind == "op":
                tokens.append(_Token("op", word, start))
            elif kind == "paren":
                tokens.append(_Token("paren", word, start))
            else:
                tokens.append(_Token("word", word, start))
            at = match.end()
        tokens.append(_Token("end", "", end))
        return tokens

    def error(self, what: str, at: int) -> UsageError:
        shown = printable(self.text)
        column = len(printable(self.text[:at]))
        return UsageError(
            f"the filter cannot be read at column {column + 1}: {printable(what)}",
            hint=f"  {shown}\n  {' ' * column}^\nwrite, for example: 'val_loss<0.2 and step>1000'",
        )

    def parse(self) -> Filter:
        if self.tokens[0].kind == "end":
            raise self.error("it is empty", 0)
        test = self._either(0)
        token = self._peek()
        if token.kind != "end":
            what = "a ')' without its '('" if token.text == ")" else f"'and' or 'or' is missing before {token.text!r}"
            raise self.error(what, token.at)
        return Filter(self.text, frozenset(self.names), test)

    def _peek(self) -> _Token:
        return self.tokens[self.next]

    def _take(self) -> _Token:
        token = self.tokens[self.next]
        self.next = min(self.next + 1, len(self.tokens) - 1)
        return token

    def _at_word(self, word: str) -> bool:
        token = self._peek()
        following = self.tokens[min(self.next + 1, len(self.tokens) - 1)]
        return token.kind == "word" and token.text.lower() == word and following.kind != "op"

    def _either(self, depth: int) -> Callable[[Fields], bool]:
        tests = [self._both(depth)]
        while self._at_word("or"):
            self._take()
            tests.append(self._both(depth))
        return tests[0] if len(tests) == 1 else lambda fields: any(test(fields) for test in tests)

    def _both(self, depth: int) -> Callable[[Fields], bool]:
        tests = [self._single(depth)]
        while self._at_word("and"):
            self._take()
            tests.append(self._single(depth))
        return tests[0] if len(tests) == 1 else lambda fields: all(test(fields) for test in tests)

    def _single(self, depth: int) -> Callable[[Fields], bool]:
        if depth > MAX_DEPTH:
            raise self.error(f"more than {MAX_DEPTH} levels", self._peek().at)
        if self._at_word("not"):
            self._take()
            inner = self._single(depth + 1)
            return lambda fields: not inner(fields)
        token = self._take()
        if token.text == "(" and token.kind == "paren":
            inner = self._either(depth + 1)
            closing = self._take()
            if closing.text != ")":
                raise self.error("a '(' that is never closed", token.at)
            return inner
        if token.kind not in ("word", "quoted"):
            found = f", not {token.text!r}" if token.text else ""
            raise self.error(f"a name, 'not' or '(' is expected here{found}", token.at)
        if token.kind == "word" and token.text.lower() in ("and", "or") and self._peek().kind != "op":
            raise self.error(f"a name is expected here, not {token.text!r}", token.at)
        if self._peek().kind == "op":
            return self._comparison(token)
        if token.kind == "word" and token.text.startswith("has:"):
            return self._presence(token)
        return _called(token.text)

    def _presence(self, token: _Token) -> Callable[[Fields], bool]:
        name = token.text[4:]
        if not name and self._peek().kind == "quoted":
            name = self._take().text
        if not name:
            raise self.error("a name is expected after 'has:'", token.at + 4)
        self._asks(name)
        return lambda fields: any(value not in (None, "", False, ()) for value in _values(fields, name))

    def _comparison(self, name: _Token) -> Callable[[Fields], bool]:
        op = self._take()
        value = self._take()
        reserved = value.kind == "word" and value.text.lower() in ("and", "or", "not")
        if reserved or value.kind not in ("word", "quoted"):
            raise self.error(f"a value is expected after {op.text!r}", value.at)
        self._asks(name.text)
        sign = "=" if op.text == "==" else op.text
        if sign not in ("=", "!=") and _number(value.text, name.text) is None:
            raise self.error(f"{sign!r} needs a number such as 0.2, 1000, 2GB or 3d, not {value.text!r}", value.at)
        return _compare(name.text, sign, value.text)

    def _asks(self, name: str) -> None:
        if "*" not in name and "?" not in name:
            self.names.add(name)


def _values(fields: Fields, name: str) -> list[Value]:
    if name in fields:
        return [fields[name]]
    if "*" in name or "?" in name:
        return [value for key, value in fields.items() if key != NAMES and fnmatch.fnmatchcase(key, name)]
    return []


def _called(pattern: str) -> Callable[[Fields], bool]:
    def test(fields: Fields) -> bool:
        names = fields.get(NAMES)
        return isinstance(names, tuple) and any(_fits(name, pattern) for name in names)

    return test


def _fits(text: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(text.lower(), pattern.lower())


def _number(text: str, name: str) -> float | None:
    """The number that a value says, with its unit; None when it is text."""
    special = _SPECIAL.get(text.lower())
    if special is not None:
        return special
    match = _NUMBER.match(text)
    if match is None:
        return None
    factor = (_AGES if name == "age" else _UNITS).get(match[2].lower())
    return None if factor is None else float(match[1]) * factor


def _compare(name: str, op: str, wanted: str) -> Callable[[Fields], bool]:
    number = _number(wanted, name)

    def one(value: Value) -> bool:
        if value is None:
            return False
        if isinstance(value, bool):
            truth = _TRUTH.get(wanted.lower())
            return truth is not None and op in ("=", "!=") and (value == truth) == (op == "=")
        if isinstance(value, int | float):
            return number is not None and _ordered(float(value), op, number)
        if op not in ("=", "!="):
            return False
        if isinstance(value, tuple):
            return any(_fits(text, wanted) for text in value) == (op == "=")
        return _fits(value, wanted) == (op == "=")

    return lambda fields: any(one(value) for value in _values(fields, name))


def _ordered(value: float, op: str, wanted: float) -> bool:
    if op in ("=", "!="):
        same = value == wanted or (math.isnan(value) and math.isnan(wanted))
        return same == (op == "=")
    if op == "<":
        return value < wanted
    if op == "<=":
        return value <= wanted
    return value > wanted if op == ">" else value >= wanted


def checkpoint_fields(checkpoint: Checkpoint, verdict: Verdict | None = None, *, now: float | None = None) -> Fields:
    """What a checkpoint can be filtered and sorted by: its metrics, and its own fields, which win over them."""
    file = checkpoint.path.rpartition("/")[2]
    fields: dict[str, Value] = dict(checkpoint.metrics)
    fields.setdefault("loss", checkpoint.loss)
    fields.update(
        id=checkpoint.id,
        name=file,
        path=checkpoint.path,
        framework=checkpoint.framework,
        format=checkpoint.format,
        state=checkpoint.state,
        seq=checkpoint.seq,
        attempt=checkpoint.attempt,
        step=checkpoint.step,
        epoch=checkpoint.epoch,
        learning_rate=checkpoint.learning_rate,
        bytes=checkpoint.bytes,
        size=checkpoint.bytes,
        saved_at=checkpoint.saved_at,
        age=(time.time() if now is None else now) - checkpoint.saved_at,
        tag=checkpoint.tags,
        tags=checkpoint.tags,
        pinned=checkpoint.pinned,
        note=checkpoint.note,
        label=checkpoint.label,
        verdict=None if verdict is None else verdict.action,
    )
    called = (checkpoint.id, file, file.rpartition(".")[0], *checkpoint.tags, checkpoint.label or "")
    fields[NAMES] = tuple(name for name in called if name)
    return fields


def run_fields(run: Run, *, now: float | None = None) -> Fields:
    """What a run can be filtered and sorted by: its config's plain values, and its own fields, which win over them."""
    fields: dict[str, Value] = {
        key: value for key, value in run.config.items() if isinstance(value, str | int | float | bool)
    }
    fields.update(
        id=run.id,
        name=run.name,
        path=run.path,
        root=run.root,
        own=run.own,
        status=run.status,
        checkpoints=run.checkpoints,
        bytes=run.bytes,
        size=run.bytes,
        framework=run.framework,
        monitor=run.monitor,
        step=run.step,
        epoch=run.epoch,
        loss=run.loss,
        parent=run.parent.run if run.parent is not None else None,
        updated_at=run.updated_at,
        created_at=run.created_at,
        age=(time.time() if now is None else now) - run.updated_at,
    )
    fields[NAMES] = (run.name, run.path, run.path.rpartition("/")[2], run.id)
    return fields


def ordered(items: Iterable[Item], by: str, fields_of: Callable[[Item], Fields]) -> list[Item]:
    """Items by one field: rising, or falling when `by` begins with "-". Rows without a finite value come last."""
    falling = by.startswith("-")
    name = by[1:] if falling else by
    numbers: list[tuple[float, Item]] = []
    texts: list[tuple[str, Item]] = []
    rest: list[Item] = []
    for item in items:
        value = fields_of(item).get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            numbers.append((float(value), item))
        elif isinstance(value, str) and value:
            texts.append((value.lower(), item))
        elif isinstance(value, tuple) and value:
            texts.append((",".join(value).lower(), item))
        else:
            rest.append(item)
    numbers.sort(key=lambda pair: pair[0], reverse=falling)
    texts.sort(key=lambda pair: pair[0], reverse=falling)
    return [item for _, item in numbers] + [item for _, item in texts] + rest


def unknown_names(names: Iterable[str], rows: Sequence[Fields]) -> list[str]:
    """Of the names asked for, those that no row has, sorted; [] when there are no rows."""
    if not rows:
        return []
    return sorted(name for name in names if all(name not in fields for fields in rows))
