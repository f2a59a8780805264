"""From a text to a filter: words, precedence, and errors that point at the place."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.filters.values import Fields, called, compare, is_glob, number_of, values_of

MAX_DEPTH = 50  # nested parentheses and nots
_SHOWN = 60  # characters on each side of an error
EXAMPLE = "val_loss<0.2 and step>1000"

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
        before, after = self.text[max(0, at - _SHOWN) : at], self.text[at : at + _SHOWN]
        left = ("…" if at > _SHOWN else "") + printable(before)
        right = printable(after) + ("…" if len(self.text) > at + _SHOWN else "")
        return UsageError(
            f"the filter cannot be read at column {len(printable(self.text[:at])) + 1}: {printable(what)}",
            hint=f"  {left}{right}\n  {' ' * len(left)}^\nwrite, for example: '{EXAMPLE}'",
        )

    def parse(self) -> Filter:
        if self.tokens[0].kind == "end":
            raise self.error("it is empty", 0)
        test = self._either(0)
        token = self._peek()
        if token.kind != "end":
            what = (
                "a ')' without its '('"
                if token.text == ")"
                else f"'and' or 'or' is missing before {_clip(token.text)!r}"
            )
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
            found = f", not {_clip(token.text)!r}" if token.text else ""
            raise self.error(f"a name, 'not' or '(' is expected here{found}", token.at)
        if token.kind == "word" and token.text.lower() in ("and", "or") and self._peek().kind != "op":
            raise self.error(f"a name is expected here, not {_clip(token.text)!r}", token.at)
        if self._peek().kind == "op":
            return self._comparison(token)
        if token.kind == "word" and token.text.startswith("has:"):
            return self._presence(token)
        return called(token.text)

    def _presence(self, token: _Token) -> Callable[[Fields], bool]:
        name = token.text[4:]
        if not name and self._peek().kind == "quoted":
            name = self._take().text
        if not name:
            raise self.error("a name is expected after 'has:'", token.at + 4)
        self._asks(name)
        return lambda fields: any(value not in (None, "", False, ()) for value in values_of(fields, name))

    def _comparison(self, name: _Token) -> Callable[[Fields], bool]:
        op = self._take()
        value = self._take()
        reserved = value.kind == "word" and value.text.lower() in ("and", "or", "not")
        if reserved or value.kind not in ("word", "quoted"):
            raise self.error(f"a value is expected after {op.text!r}", value.at)
        self._asks(name.text)
        sign = "=" if op.text == "==" else op.text
        if sign not in ("=", "!=") and number_of(value.text, name.text) is None:
            kinds = "a number such as 0.2, 1000, 2GB or 3d"
            if name.text.endswith("_at"):
                kinds = "a date such as 2026-07-01 or 2026-07-01T18:30, or Unix seconds"
            raise self.error(f"{sign!r} needs {kinds}, not {_clip(value.text)!r}", value.at)
        return compare(name.text, sign, value.text)

    def _asks(self, name: str) -> None:
        if not is_glob(name):
            self.names.add(name)


def _clip(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
