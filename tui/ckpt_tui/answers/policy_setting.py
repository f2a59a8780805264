"""`ckpt policy set`: what a command asks of a run or a watched directory, shown before it holds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt_tui.answers.doubts import recorded, too_small, unrecorded
from ckpt_tui.answers.policies import Json, by_live_daemon, run_names, shown_policy
from ckpt_tui.lookup import Lookup, Place, place_of, read_place
from ckpt_tui.output import Output
from ckpt_tui.running import running
from ckpt_tui.wording import plural, size_text

_NAMED = 5  # of what would go


def answer_set(where: str, words: Sequence[str], *, clear: bool, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt policy set`; `words` are KEY=VALUE, with `clear` also keys that are taken back."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        rules, keys = _parsed(words, clear=clear)
        shown = shown_policy(lookup, where)
        said = _said(shown)
        given = _changed(said, rules, keys, clear=clear)
        put = _Setting(lookup, shown, where)
        before, coming = _going(put(said, preview=True)), put(given, preview=True)
        after = _going(coming)
        new = after.more_than(before)
        if out.mode == "human":
            _tell(out, coming, after, new, given)
        if new:
            out.confirm(f"set it, so that {plural(new, 'more checkpoint')} may go?", yes=yes)
        answer = put(given, preview=False)

        def human() -> Iterable[str]:
            from ckpt_tui.render.policies import policy_lines

            return policy_lines(answer, run_names(lookup, where), paint=out.paint, width=out.width)

        out.data(answer, ids=sorted(answer["origins"]), human=human)
        if out.mode == "human":
            back = "`ckpt undo` takes it back" if put.journaled else "`ckpt policy set … --clear` takes it back"
            waits = (answer.get("plan") or {}).get("ask") is not None
            out.say(f"{_WHEN}; {back}" if after.count and not waits else back)


_WHEN = "nothing is removed at once: the daemon acts in its next round, a training at its next save"


@dataclass(frozen=True)
class _Going:
    """What would be removed: how many of how many, their bytes, and which of a run."""

    count: int
    total: int
    bytes: int
    names: tuple[str, ...] = ()
    ids: frozenset[str] = frozenset()

    def more_than(self, before: _Going) -> int:
        """How many would go that would not have gone before."""
        return len(self.ids - before.ids) if self.ids else max(0, self.count - before.count)


class _Setting:
    """Sets the policy of one run or directory, by the daemon, or by itself for an own run that is named by a path."""

    def __init__(self, lookup: Lookup, shown: Json, where: str) -> None:
        self._lookup = lookup
        self._shown = shown
        self._place = place_of(where) if "run" in shown else None
        self.journaled = False
        """Whether what was set last can be taken back by `ckpt undo`."""

    def __call__(self, given: Mapping[str, Any], *, preview: bool) -> Json:
        shown = self._shown
        whose = {"run": shown["run"]["id"]} if "run" in shown else {"path": shown["path"]}
        if "path_b64" in shown:
            whose["path_b64"] = shown["path_b64"]
        if self._place is not None:
            whose = {"run": str(self._place.directory)}
        body = {**whose, "policy": dict(given), "preview": preview}
        if self._place is not None and shown["run"]["own"]:
            heard = by_live_daemon(lambda client: client.post("/v1/policy", body))
            self.journaled = heard is not None
            return _alone(self._place, given, preview=preview) if heard is None else heard
        answer: Json = self._lookup.client.post("/v1/policy", body)
        self.journaled = "run" in answer
        return answer


def _alone(place: Place, given: Mapping[str, Any], *, preview: bool) -> Json:
    """Sets it in the run's own marks; config.toml is the daemon's, and has no say here."""
    from ckpt import marks, retention
    from ckpt.paths import RunPaths
    from ckpt.runs.redirecting import refuse_spared
    from ckpt.scan import governed
    from ckpt.scan.trying import policy_view_to_json

    view = read_place(place)
    wished = view.evolve(wishes=view.wishes.evolve(said=dict(given)))
    merged = retention.merge(wished.wishes.layers)
    if preview:
        situation = view.situation.evolve(own_policy=view.run.own and merged.only(view.wishes.origin))
        view = governed(wished, merged, situation, time.time())
    else:
        refuse_spared(Path(view.run.path))
        marks.append(RunPaths(Path(view.run.path)).marks, "policy", None, policy=dict(given))
        view = read_place(place)
    return {**policy_view_to_json(view, view.wishes.layers), "plan": retention.run_plan_to_json(view.plan)}


def _parsed(words: Sequence[str], *, clear: bool) -> tuple[dict[str, Any], list[str]]:
    from ckpt import retention
    from ckpt.retention.reading import FIELDS
    from ckpt.retention.spelling import field_name

    keys = [field_name(word, FIELDS) for word in words if "=" not in word] if clear else []
    rules = retention.parse([word for word in words if "=" in word or not clear])
    if not rules and not clear:
        raise UsageError("no rule is given", hint="such as keep_last=5 keep_best=3; --clear takes everything back")
    return rules, keys


def _said(shown: Json) -> dict[str, Any]:
    """What commands ask so far."""
    origins = ("command",) if "run" in shown else ("root",)
    layers = [layer["policy"] for layer in shown["layers"] if layer["origin"] in origins]
    return dict(layers[-1]) if layers else {}


def _changed(
    before: Mapping[str, Any], rules: Mapping[str, Any], keys: Sequence[str], *, clear: bool
) -> dict[str, Any]:
    """All that commands ask from now on."""
    from ckpt.retention import given

    gone = set(before) if clear and not keys and not rules else set(keys)
    if "monitor" in gone:
        gone |= {"mode", "unmonitored"}
    if "monitor" in rules or "unmonitored" in rules:
        # A monitor never has the direction that was said of another one.
        gone |= {"monitor", "mode", "unmonitored"}
    after = {name: value for name, value in before.items() if name not in gone}
    best_of = rules.get("keep_best_of")
    if isinstance(best_of, Mapping) and isinstance(after.get("keep_best_of"), Mapping):
        rules = {**rules, "keep_best_of": {**after["keep_best_of"], **best_of}}
    return given({**after, **rules})


def _going(shown: Json) -> _Going:
    if "plan" not in shown:
        return _Going(int(shown["remove"]), int(shown["checkpoints"]), int(shown["remove_bytes"]))
    plan = shown["plan"]
    removed = plan["remove"]
    total = sum(len(plan[name]) for name in ("keep", "remove", "skip"))
    ids = frozenset(str(item["id"]) for item in removed)
    return _Going(len(removed), total, sum(int(item["bytes"]) for item in removed), tuple(map(_name, removed)), ids)


def _tell(out: Output, coming: Json, going: _Going, new: int, given: Mapping[str, Any]) -> None:
    """What would change, as narration."""
    plan = coming.get("plan") or {}
    if going.count:
        more = "as until now" if not new else f"{new} more than until now" if new < going.count else "none until now"
        out.say(f"would now remove {going.count} of {going.total} ({size_text(going.bytes)}), {more}")
        for name in going.names[:_NAMED]:
            out.say(f"  {name}")
        if len(going.names) > _NAMED:
            out.say(f"  and {len(going.names) - _NAMED} more")
    else:
        observed = sum(reason.get("rule") == "observed" for item in plan.get("skip", ()) for reason in item["reasons"])
        why = ", because its directory is only observed" if observed or coming.get("mode") == "observe" else ""
        out.say(f"would remove nothing now{why}")
    items = [item for name in ("keep", "remove", "skip") for item in plan.get(name, ())]
    doubtful = unrecorded(given, recorded(items)) if items else []
    for doubt in [*doubtful, *too_small(given, next(iter(plan.get("keep", ())), None))]:
        out.say(doubt)
    if plan.get("refused"):
        out.say(f"nothing is removed: {plan['refused']}")
    elif plan.get("ask"):
        out.say(f"it waits for `ckpt apply`: {plan['ask']}")
    for name in given:
        origin = coming["origins"].get(name)
        if origin is not None and origin not in ("command", "root"):
            out.say(f"{name} stays as {origin} says: that goes before what a command sets")


def _name(item: Mapping[str, Any]) -> str:
    step = item.get("step")
    name = printable(Path(str(item["path"])).name)
    return name if step is None else f"{name} (step {step})"
