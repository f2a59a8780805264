"""A policy for people: sentences, each value with its origin, and where it can be changed."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from ckpt_tui.output import Paint
from ckpt_tui.tables import Cell, Column, table, wrapped

_TIMES = ("keep_within", "max_age", "metric_grace", "min_age", "keep_for")


def policy_lines(shown: Mapping[str, Any], names: Mapping[str, str], *, paint: Paint, width: int | None) -> list[str]:
    """The policy of a run or of a watched directory. `names` gives a run's name for its id, as far as it is known."""
    run = shown.get("run")
    name = names.get(run["id"], run["name"]) if run is not None else str(shown["path"])
    lines = [f"policy of {paint(str(name), 'bold')}"]
    if shown.get("problem"):
        lines += [f"  {line}" for line in wrapped(f"nothing is removed now: {shown['problem']}", _less(width))]
    if run is not None and _goes_by_its_own(run, set(shown["origins"].values())):
        own = f"its training prunes by what its own code says until it ends: {_own_rules(shown)}"
        lines += [f"  {line}" for line in wrapped(own, _less(width))]
    lines += [f"  {line}" for note in shown.get("unheard", ()) for line in wrapped(note, _less(width))]
    lines += _sentences(shown, width)
    lines += _origins(shown, paint, width)
    lines += ["", *_places(shown, "RUN" if run is None else str(name), width)]
    return lines


def everywhere_lines(
    shown: Mapping[str, Any], names: Mapping[str, str], *, paint: Paint, width: int | None
) -> list[str]:
    """What holds where nothing else is said, and the runs. `names` as of `policy_lines`."""
    lines = [paint("where nothing else is said", "bold"), *_sentences(shown, width), *_origins(shown, paint, width)]
    if shown["runs"]:
        rows: list[list[str | Cell]] = [
            [
                names.get(run["run"], run["name"]),
                ", ".join(run["rules"]) or "everything is kept",
                ", ".join(run["origins"]) or "–",
            ]
            for run in shown["runs"]
        ]
        columns = [Column("RUN", cut=True), Column("RULES", cut=True), Column("FROM", cut=True)]
        lines += ["", *table(columns, rows, paint=paint, width=width)]
    return lines


def rules_line(policy: Mapping[str, Any]) -> str:
    """What a policy asks for, as it can be typed again: `keep_last=5 keep_best=3`."""
    from ckpt.retention import Policy
    from ckpt.retention.writing import given_text

    return given_text(Policy.from_json(policy).asked) or "keeps everything"


def value_text(name: str, value: Any) -> str:
    """A value of a policy as people write it."""
    from ckpt.retention.quantities import duration_text, size_text

    if value is None:
        return "off"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _TIMES:
        return duration_text(value)
    if name == "max_bytes":
        return size_text(value)
    if name == "keep_every":
        return ",".join(_stretch(item) for item in value)
    if name == "keep_best_of":
        return ",".join(f"{metric}:{best['keep']}" for metric, best in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _stretch(item: Mapping[str, Any]) -> str:
    from ckpt.retention.quantities import duration_text

    within = item.get("within")
    return duration_text(item["every"]) + ("" if within is None else f" for {duration_text(within)}")


def _goes_by_its_own(run: Mapping[str, Any], origins: Set[str]) -> bool:
    """Whether a training runs that does not know all of the policy: it reads no config.toml and asks no daemon."""
    return bool(run["own"]) and run["status"] in ("training", "stalled") and not origins <= {"run.json", "command"}


def _own_rules(shown: Mapping[str, Any]) -> str:
    from ckpt.retention import merge

    known = [(item["origin"], item["policy"]) for item in shown["layers"] if item["origin"] in ("run.json", "command")]
    policy = merge(known).policy
    return rules_line(policy.to_json()) if policy.has_rules else "everything is kept"


def _sentences(shown: Mapping[str, Any], width: int | None) -> list[str]:
    return [f"  {line}" for sentence in shown["describe"] for line in wrapped(sentence, _less(width))]


def _origins(shown: Mapping[str, Any], paint: Paint, width: int | None) -> list[str]:
    policy = shown["policy"]
    rows: list[list[str | Cell]] = []
    for name, origin in shown["origins"].items():
        if name == "keep_best_of":
            continue
        whole, _, metric = name.partition(".")
        if metric:
            best = (policy.get(whole) or {}).get(metric)
            value = "off" if best is None else f"{best['keep']} {best['mode']}"
        else:
            value = value_text(name, policy.get(name))
        rows.append([Cell(name), value, Cell(str(origin), "dim")])
    columns = [Column("VALUE OF"), Column("IS", cut=True), Column("SAID BY", cut=True)]
    return ["", *table(columns, rows, paint=paint, width=width)] if rows else []


def _places(shown: Mapping[str, Any], name: str, width: int | None) -> list[str]:
    """Where what is in force can be changed."""
    from ckpt.encoding import quoted

    origins = set(shown["origins"].values())
    target = quoted(name) if "run" in shown else quoted(str(shown["path"]))
    told = [f"change it: ckpt policy set {target} KEY=VALUE"]
    if "command" in origins or "root" in origins:
        told.append(f"command: ckpt policy set {target} --clear takes it back")
    if "run.json" in origins:
        told.append("run.json: what the training itself asked for, in its CheckpointConfig or Run.create(policy=…)")
    if "trainer" in origins:
        told.append("trainer: the metric that the trainer itself monitors, as its files say")
    if "guess" in origins:
        told.append("guess: its trainer names no metric; say monitor=NAME, or monitor=none where there is no best")
    told += [
        f"{origin}: edit config.toml, then `ckptd reload`" for origin in sorted(origins) if "config.toml" in origin
    ]
    return [line for text in told for line in wrapped(text, width)]


def _less(width: int | None) -> int | None:
    return None if width is None else max(width - 2, 20)
