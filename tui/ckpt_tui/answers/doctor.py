"""`ckpt doctor`: what is wrong on this machine, and what to do about it; nothing is started."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from ckpt_tui.doctor.checks import check_all
from ckpt_tui.doctor.gathering import gather
from ckpt_tui.running import running

UNSOUND = 1  # exit code


def answer_doctor(*, json: bool, quiet: bool) -> None:
    """Answers `ckpt doctor`. Ends with exit code 1 when something is wrong; a warning is not."""
    with running(json=json, quiet=quiet) as out:
        facts = gather()
        checks = check_all(facts)
        answer = {
            "versions": facts.versions,
            "paths": {place.name: place.path or f"unusable: {place.problem}" for place in facts.places},
            "daemon": facts.note,
            "autostart": facts.autostart or "allowed",
            "checks": [check.to_json() for check in checks],
        }

        def human() -> Iterable[str]:
            from ckpt_tui.render.doctor import doctor_lines

            return doctor_lines(answer, paint=out.paint, width=out.width)

        failed = [check for check in checks if check.level == "wrong"]
        out.data(answer, ids=[check.subject or check.name for check in failed], human=human)
        if failed:
            raise typer.Exit(UNSOUND)
