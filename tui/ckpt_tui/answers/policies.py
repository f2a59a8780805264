"""`ckpt policy show` and `ckpt policy test`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import AddressError, CkptError, DaemonError
from ckpt_tui.answers.doubts import recorded, unrecorded
from ckpt_tui.answers.listing import runs_below
from ckpt_tui.answers.rehearsed import judged
from ckpt_tui.lookup import Lookup, Place, place_of, read_place
from ckpt_tui.running import running

Json = Mapping[str, Any]


def answer_show(where: str | None, *, json: bool, quiet: bool) -> None:
    """Answers `ckpt policy show`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        shown = lookup.client.get("/v1/policy") if where is None else shown_policy(lookup, where)
        if where is None and not shown["runs"]:
            out.say("no run is known yet: `ckpt watch add DIR`, or make one with ckpt.Run.create()")

        def human() -> Iterable[str]:
            from ckpt_tui.render.policies import everywhere_lines, policy_lines

            lines = everywhere_lines if where is None else policy_lines
            return lines(shown, run_names(lookup, where), paint=out.paint, width=out.width)

        if where is not None and not any("config.toml" in layer["origin"] for layer in shown["layers"]):
            out.say("no daemon runs that knows this run: config.toml and the policies of directories were not asked")
        out.data(shown, ids=sorted(shown["origins"]), human=human)


def run_names(lookup: Lookup, where: str | None) -> Mapping[str, str]:
    """The shortest unique names of the runs that are known; none where a path was named, for which nobody is asked."""
    return {} if where is not None and os.path.lexists(where) else lookup.run_names()


def shown_policy(lookup: Lookup, where: str) -> Json:
    """The policy of a run or of a watched directory. Raises AddressError."""
    if runs_below(where) is not None:
        answer: Json = lookup.client.get("/v1/policy", path=os.path.realpath(where))
        return answer
    place = place_of(where)
    if place is None:
        asked: Json = lookup.client.get("/v1/policy", run=where)
        return asked
    known = by_live_daemon(lambda client: client.get("/v1/policy", run=str(place.directory)))
    if known is not None:
        return known
    from ckpt.scan.trying import policy_view_to_json

    view = read_place(place)
    return policy_view_to_json(view, view.wishes.layers)


def by_live_daemon(ask: Callable[[Any], Json]) -> Json | None:
    """What a daemon that runs answers about a run that is named by its path; None without one, or if it has no such."""
    from ckpt.client import Client

    try:
        with Client.connect(autostart=False) as client:
            return ask(client) if client.mode == "daemon" else None
    except (AddressError, DaemonError):
        return None


def answer_test(run: str, policies: Sequence[str], *, json: bool, quiet: bool) -> None:
    """Answers `ckpt policy test`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        ask = _tester(lookup, run)
        # A typo is told before anything is replayed.
        given = [_given(text) for text in policies]
        with out.waiting(f"replays the saves of {run}"):
            present = ask(None)
            tried = [ask(text) for text in policies]
            run_view = lookup.view(run)
        held = {raw["id"] for raw in run_view["checkpoints"] if raw["held_by"] or raw["pointed"]}
        judged_present, *judged_tried = judged([present, *tried], held)
        answer = {
            "run": present["run"],
            "name": present["name"],
            "history": present["history"],
            "own": run_view["run"]["own"],
            "present": _alone(judged_present),
            "tried": [_alone(each) for each in judged_tried],
        }

        def human() -> Iterable[str]:
            from ckpt_tui.render.rehearsals import rehearsal_lines

            return rehearsal_lines(answer, paint=out.paint, width=out.width)

        out.data(answer, ids=[str(kept["id"]) for kept in (tried or [present])[-1]["kept"]], human=human)
        if out.mode != "human":
            return
        known = recorded(run_view["checkpoints"]) | {str(best["metric"]) for best in present["bests"]}
        for doubt in dict.fromkeys(text for each in given for text in unrecorded(each, known)):
            out.say(doubt)
        if not present["saved"]:
            out.say(f"nothing is known of a save of {printable(str(present['name']))}: `ckpt ls` shows what is known")
        elif not policies:
            out.say('try another: --policy "keep_last=3 keep_best=2"')


def _tester(lookup: Lookup, run: str) -> Callable[[str | None], Json]:
    place = place_of(run)
    if place is None:
        return lambda text: lookup.client.get("/v1/policy/test", run=run, policy=text)
    name = str(place.directory)
    if by_live_daemon(lambda client: client.get("/v1/policy", run=name)) is not None:
        return lambda text: lookup.client.get("/v1/policy/test", run=name, policy=text)
    return _local_tester(place)


def _local_tester(place: Place) -> Callable[[str | None], Json]:
    from ckpt.paths import StatePaths
    from ckpt.scan.trying import try_policy

    view = read_place(place)
    try:
        foreign_marks: Path | None = StatePaths.here().marks
    except (CkptError, OSError):
        foreign_marks = None
    return lambda text: try_policy(view, text, time.time(), foreign_marks)


def _given(text: str) -> Json:
    """The rules of a policy to try. Raises StateError for one that cannot be."""
    from ckpt import retention

    given = retention.parse([text])
    retention.merge([("--policy", given)])
    return given


def _alone(rehearsal: Json) -> Json:
    """A rehearsal without what all of them say alike."""
    return {name: value for name, value in rehearsal.items() if name not in ("run", "name", "history")}
