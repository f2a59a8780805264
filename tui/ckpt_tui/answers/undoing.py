"""`ckpt undo`: which acts can be taken back, and taking one back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import AddressError, UsageError
from ckpt.protocol import undo_body
from ckpt_tui.answers.trash import refuse_if_none, restored_lines
from ckpt_tui.lookup import Lookup
from ckpt_tui.render.words import ago
from ckpt_tui.running import running

Act = Mapping[str, Any]

_GONE = "what was purged from the trash cannot come back"


def answer_undo(name: str | None, *, listed: bool, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt undo`; `name` is the id of an act or a plan, or a run whose latest act is meant."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        lookup.require_daemon()
        act, known = _asked(lookup, name)
        if listed:
            if not known:
                out.say(f"there is nothing to undo: {_GONE}")

            def rows() -> Iterable[str]:
                from ckpt_tui.render.acts import acts_lines

                return acts_lines(known, paint=out.paint, width=out.width) if known else ()

            out.data({"acts": known}, ids=[str(one["id"]) for one in known], human=rows)
            return
        if act is None:
            raise UsageError("there is nothing to undo", hint=_GONE)
        from ckpt_tui.render.acts import by_text

        back = "; what comes back is pinned" if act["kind"] == "remove" else ""
        if not yes and len(known) > 1:
            out.say(f"`ckpt undo --list` shows {len(known) - 1} more; `ckpt undo ID` takes one of them back")
        out.confirm(f"take back {act['text']}, {ago(act['at'])} by {by_text(act)}{back}?", yes=yes)
        undone = lookup.client.post("/v1/undo", undo_body(act))["undone"]
        restored, left = undone.get("restored") or (), undone.get("left") or ()

        def human() -> Iterable[str]:
            if restored or not left:
                yield f"taken back: {out.paint(undone['text'])}"
            yield from (f"  {line}" for line in restored_lines(out, restored, left))

        out.data({"undone": undone}, ids=[str(item["path"]) for item in restored], human=human)
        refuse_if_none(restored, left)


def _asked(lookup: Lookup, name: str | None) -> tuple[Act | None, Sequence[Act]]:
    """The act that is meant, and all among which it was looked for. Raises AddressError."""
    answer = lookup.client.get("/v1/undo")
    if name is None:
        return answer["undo"], answer["acts"]
    fitting = [act for act in answer["acts"] if name and str(act["id"]).startswith(name)]
    exact = [act for act in fitting if act["id"] == name]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0], exact or fitting
    ids = [str(act["id"]) for act in fitting or answer["acts"]]
    if fitting:
        raise AddressError(f"'{printable(name)}' names {len(ids)} acts", hint=f"say which: {', '.join(ids[:8])}")
    try:
        answer = lookup.client.get("/v1/undo", run=name)
    except AddressError:
        raise AddressError(
            f"'{printable(name)}' is no act that can be taken back, and no run",
            hint="`ckpt undo --list` shows what can be taken back",
            candidates=ids[:20],
        ) from None
    return answer["undo"], answer["acts"]
