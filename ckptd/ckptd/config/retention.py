"""What a config file says of retention: policies of all runs, of roots and of single runs, limits, and the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ckpt.encoding import printable
from ckpt.exceptions import StateError
from ckpt.retention.quantities import duration, size, whole
from ckptd.config.problems import SHOWN, Problems, place
from ckptd.config.values import Limits, RunRule, check_given

Number = TypeVar("Number", int, float)
_COUNT_MAX = 10**9


def policy(problems: Problems, raw: Any, table: str, number: int = 1, *, named: bool = False) -> dict[str, Any]:
    """The given fields of the policy in a table; `table` is "policy" for the one that stands by itself.

    `named` says whether it is of a run that is named itself.
    """
    inner = table == "policy"
    key, label = (table, "[policy]") if inner else (f"{place(table, number)}policy", f"{table} {number}: policy")
    whole_line = problems.layout.line(table, number, "" if inner else "policy")
    if not isinstance(raw, Mapping):
        problems.value(key, f"{label} is a table, as {{keep_last = 3, keep_best = 1}}", raw, whole_line)
        return {}
    before = len(problems.wrong)
    for name, value in raw.items():
        try:
            check_given({name: value}, named=named)
        except StateError as error:
            line = problems.layout.line(table if inner else f"{table}.policy", number, name) or whole_line
            problems.problem(f"{key}.{printable(name[:SHOWN])}", f"{label}: {_sentence(error)}", line=line)
    if len(problems.wrong) > before:
        return {}
    try:
        return check_given(raw, named=named)
    except StateError as error:
        problems.problem(key, f"{label}: {_sentence(error)}", line=whole_line)
        return {}


def runs(problems: Problems, raw: Mapping[str, Any]) -> tuple[RunRule, ...]:
    """The policies of single runs."""
    rules: list[RunRule] = []
    for number, one in problems.tables(raw, "run"):
        key, line = f"run[{number}].match", problems.layout.line("run", number, "match")
        match = one.get("match")
        usable = isinstance(match, str) and bool(match.strip("/ "))
        if match is None:
            problems.problem(key, f"run {number} needs a match: a name, or a pattern as 'llama-*/sft-*'", line=line)
        elif not usable:
            problems.value(key, f"run {number}: match is a name, or a pattern as 'llama-*/sft-*'", match, line)
        rule = RunRule(match=match if isinstance(match, str) else "", policy={})
        if "policy" not in one:
            problems.problem(f"run[{number}].policy", f"run {number} needs a policy", line=line)
            continue
        fields = policy(problems, one["policy"], "run", number, named=usable and rule.names_one)
        if rule.match.startswith(("/", "~", "./", "../")):
            shown = printable(rule.match[:SHOWN])
            problems.warn(key, f"run {number}: '{shown}' never matches; write a name, or a path below the root", line)
        for other, known in enumerate(rules, 1):
            if known.match == rule.match:
                problems.problem(key, f"run {number}: '{printable(rule.match)}' is run {other} already", line=line)
        rules.append(rule.evolve(policy=fields))
    return tuple(rules)


def limits(problems: Problems, raw: Mapping[str, Any]) -> tuple[Limits, list[str]]:
    """The limits, and the names of those that the file gives."""
    table = problems.table(raw, "limits")
    read: dict[str, Callable[[str, Any], int]] = {
        "removals_per_run": _count,
        "bytes_per_run": size,
        "removals_per_pass": _count,
    }
    found = {name: _quantity(problems, "limits", name, table[name], read[name]) for name in read if name in table}
    return Limits(**{name: value for name, value in found.items() if value is not None}), list(found)


def warn_before(problems: Problems, raw: Mapping[str, Any]) -> float | None:
    """How long before a disk is full that is warned of, in seconds; None where the file does not say."""
    table = problems.table(raw, "disk")
    if "warn_before" not in table:
        return None
    return _quantity(problems, "disk", "warn_before", table["warn_before"], duration)


def _quantity(
    problems: Problems, table: str, name: str, value: Any, read: Callable[[str, Any], Number]
) -> Number | None:
    try:
        return read(name, value)
    except StateError as error:
        line = problems.layout.line(table, 1, name)
        problems.problem(f"{table}.{name}", f"[{table}]: {_sentence(error)}", line=line)
        return None


def _count(name: str, value: Any) -> int:
    return whole(name, value, 0, _COUNT_MAX)


def _sentence(error: StateError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
