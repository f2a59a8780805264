"""What a config file says of retention: policies of all runs, of roots and of single runs, limits, and the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ckpt.encoding import printable
from ckpt.exceptions import StateError
from ckpt.retention import Policy, merge
from ckpt.retention.quantities import duration, size, whole
from ckptd.config.problems import SHOWN, Problems, place
from ckptd.config.values import Config, Limits, RunRule, check_given

Number = TypeVar("Number", int, float)
_COUNT_MAX = 10**9
_SMALL = 10**6  # bytes; nobody keeps checkpoints in less


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
        given = check_given(raw, named=named)
        Policy.from_json(given)
    except StateError as error:
        problems.problem(key, f"{label}: {_sentence(error)}", line=whole_line)
        return {}
    size_line = problems.layout.line(table if inner else f"{table}.policy", number, "max_bytes") or whole_line
    _warn_of_size(problems, f"{key}.max_bytes", f"{label}: max_bytes", given.get("max_bytes"), size_line)
    return given


def together(problems: Problems, config: Config) -> None:
    """Policies that are fine by themselves, and none where they meet: that of all runs and that of a root."""
    for number, root in enumerate(config.roots, 1):
        try:
            merge([("[policy]", config.policy), (f"the policy of {printable(root.path)}", root.policy)])
        except StateError as error:
            line = problems.layout.line("root", number, "policy")
            problems.problem(f"root[{number}].policy", f"with [policy], {_sentence(error)}", line=line)


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
    read: dict[str, Callable[[str, Any], Any]] = {
        "removals_per_run": _count,
        "bytes_per_run": size,
        "removals_per_pass": _count,
        "reload_delay": duration,
    }
    found = {name: _quantity(problems, "limits", name, table[name], read[name]) for name in read if name in table}
    line = problems.layout.line("limits", 1, "bytes_per_run")
    _warn_of_size(problems, "limits.bytes_per_run", "[limits]: bytes_per_run", found.get("bytes_per_run"), line)
    return Limits(**{name: value for name, value in found.items() if value is not None}), list(found)


def warn_before(problems: Problems, raw: Mapping[str, Any]) -> float | None:
    """How long before a disk is full that is warned of, in seconds; None where the file does not say."""
    table = problems.table(raw, "disk")
    if "warn_before" not in table:
        return None
    return _quantity(problems, "disk", "warn_before", table["warn_before"], duration)


def _warn_of_size(problems: Problems, key: str, label: str, value: int | None, line: int | None) -> None:
    if value is not None and 0 < value < _SMALL:
        shown = f"{value:,} byte{'s' * (value != 1)}"
        problems.warn(key, f'{label} is {shown}; a size without a unit is bytes: write "100GB", for example', line)


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
