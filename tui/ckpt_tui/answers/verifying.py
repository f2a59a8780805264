"""`ckpt verify`: reads whole checkpoints and compares every checksum that they state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ckpt.encoding import path_fields, printable
from ckpt.exceptions import CkptError, UsageError
from ckpt.scan.recording import SETTLE_S
from ckpt_tui.answers.settling import Sighting, sighting
from ckpt_tui.answers.targets import Target, all_targets, settled, targets
from ckpt_tui.lookup import Lookup
from ckpt_tui.output import Output
from ckpt_tui.running import from_os_error, running

if TYPE_CHECKING:
    from ckpt.formats import Verification

DAMAGED, FAILED = 1, 3  # exit codes
Progress = Callable[[int], None] | None


@dataclass
class Outcome:
    """What came of all targets."""

    checked: list[tuple[Target, Verification]] = field(default_factory=list)
    """Those that were read, each with what it proved and the problems that its run knows of."""
    writing: list[Target] = field(default_factory=list)
    """Those that are still being written, so that nobody knows."""
    failed: list[tuple[Target, str]] = field(default_factory=list)

    @property
    def damaged(self) -> list[tuple[Target, Verification]]:
        """Those that are not what was written."""
        return [(target, found) for target, found in self.checked if found.damaged]

    @property
    def exit_code(self) -> int:
        """0 when all are whole, 1 when one is damaged or was named and not checked, 3 when one could not be read."""
        unproved = any(target.named for target in self.writing)
        return DAMAGED if self.damaged or unproved else FAILED if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """The shape of `ckpt verify --json`."""
        return {
            "checked": len(self.checked),
            "damaged": [{**_named(target), "problems": list(found.problems)} for target, found in self.damaged],
            "without_checksums": [
                _named(target) for target, found in self.checked if not found.damaged and not found.checksums
            ],
            "writing": [_named(target) for target in self.writing],
            "failed": [{**_named(target), "problem": problem} for target, problem in self.failed],
            "bytes_read": sum(found.bytes_read for _, found in self.checked),
        }


def _named(target: Target) -> dict[str, Any]:
    return {"id": target.id, **path_fields(target.path)}


def answer_verify(refs: Sequence[str], *, everything: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt verify`. Ends with exit code 1 when something is damaged or not proved, 3 when unreadable."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        if bool(refs) == everything:
            raise UsageError(
                "--all and a REF exclude each other" if refs else "what to verify is missing",
                hint="name a path, an id, RUN or RUN@SELECTOR; --all verifies everything that is known",
            )
        asked = all_targets(lookup) if everything else (target for ref in refs for target in targets(lookup, ref))
        chosen = _once(asked)
        if not chosen:
            out.say("there is no checkpoint to verify")
        outcome = _verify(out, chosen)

        def human() -> Iterable[str]:
            from ckpt_tui.render.verifying import verification_lines

            return verification_lines(outcome, paint=out.paint) if chosen else ()

        out.data(outcome.to_json(), ids=[target.path for target, _ in outcome.damaged], human=human)
        if outcome.exit_code:
            raise typer.Exit(outcome.exit_code)


def _once(asked: Iterable[Target]) -> list[Target]:
    """Each checkpoint once; one that was also named by itself counts as named."""
    chosen: dict[str, Target] = {}
    for target in asked:
        if target.named or target.path not in chosen:
            chosen[target.path] = target
    return list(chosen.values())


def _verify(out: Output, targets: Sequence[Target]) -> Outcome:
    outcome = Outcome()
    what = Path(targets[0].path).name if len(targets) == 1 else f"{len(targets)} checkpoints"
    unsettled: list[Target] = []
    with out.progress(f"verifying {what}", sum(target.bytes for target in targets)) as progress:
        for target in targets:
            if target.state == "writing" or not _check(target, outcome, progress):
                (outcome.writing if target.own else unsettled).append(target)
    seen = [(target, sighting((target.path, *target.parts))) for target in unsettled]
    for target, before in seen:
        _check_later(out, target, before, outcome)
    return outcome


def _check(target: Target, outcome: Outcome, progress: Progress) -> bool:
    """Reads a checkpoint and notes what came of it; False, and nothing noted, when it was written to meanwhile."""
    try:
        found = _proved(target, progress)
    except OSError as error:
        outcome.failed.append((target, from_os_error(error).message))
        return True
    except CkptError as error:
        outcome.failed.append((target, error.message))
        return True
    if found.state == "writing":
        return False
    if target.state != "complete" and not found.damaged:
        found = found.evolve(problems=target.problems or (f"it is {target.state}",))
    outcome.checked.append((target, found))
    return True


def _check_later(out: Output, target: Target, before: Sighting, outcome: Outcome) -> None:
    """Judges what may be being written: once nobody has written to it for a while, or was whole when that was over."""
    if before.age() < SETTLE_S:
        out.say(f"waiting for {printable(Path(target.path).name)}, written {before.age():.0f} s ago")
        before.wait(SETTLE_S)
    later = Outcome()
    try:
        checked = _check(settled(target), later, None)
    except OSError as error:
        outcome.failed.append((target, from_os_error(error).message))
        return
    quiet = sighting((target.path, *target.parts)) == before
    if not checked or (later.damaged and not quiet):
        outcome.writing.append(target)
        return
    outcome.checked += later.checked
    outcome.failed += later.failed


def _proved(target: Target, progress: Progress) -> Verification:
    """What reading all files of a checkpoint proved. Raises OSError, FormatError."""
    from ckpt.formats import verify

    found = verify(target.path, progress=progress)
    for path in target.parts:
        part = verify(path, progress=progress)
        name = Path(path).name
        found = found.evolve(
            state="writing" if part.state == "writing" else found.state,
            problems=(*found.problems, *(f"{name}: {problem}" for problem in part.problems)),
            checksums=found.checksums + part.checksums,
            bytes_compared=found.bytes_compared + part.bytes_compared,
            bytes_read=found.bytes_read + part.bytes_read,
        )
    return found
