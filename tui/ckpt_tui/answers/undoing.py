"""`ckpt undo`: which acts can be taken back, and taking one back."""

from __future__ import annotations

from collections.abc import Iterable

from ckpt.exceptions import UsageError
from ckpt.protocol import undo_body
from ckpt_tui.answers.trash import refuse_if_none, restored_lines
from ckpt_tui.lookup import Lookup
from ckpt_tui.render.words import ago
from ckpt_tui.running import running


def answer_undo(*, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt undo`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        lookup.require_daemon()
        latest = lookup.client.get("/v1/undo")["undo"]
        if latest is None:
            raise UsageError("there is nothing to undo", hint="what was purged from the trash cannot come back")
        back = "; what comes back is pinned" if latest["kind"] == "remove" else ""
        out.confirm(f"take back {latest['text']}, {ago(latest['at'])}{back}?", yes=yes)
        act = lookup.client.post("/v1/undo", undo_body(latest))["undone"]
        restored, left = act.get("restored") or (), act.get("left") or ()

        def human() -> Iterable[str]:
            if restored or not left:
                yield f"taken back: {out.paint(act['text'])}"
            yield from (f"  {line}" for line in restored_lines(out, restored, left))

        out.data({"undone": act}, ids=[str(item["path"]) for item in restored], human=human)
        refuse_if_none(restored, left)
