"""`ckpt verify`: reads whole checkpoints and compares every checksum that they state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ckpt.encoding import path_fields
from ckpt.exceptions import AddressError, CkptError, UsageError
from ckpt.protocol import checkpoint_from_json, run_from_json
from ckpt.records import Checkpoint, Run
from ckpt_tui.answers.listing import runs_below
from ckpt_tui.lookup import Lookup, Place, other_parts, place_of, read_place
from ckpt_tui.output import Output
from ckpt_tui.running import from_os_error, running

if TYPE_CHECKING:
    from ckpt.formats import Verification

DAMAGED, FAILED = 1, 3  # exit codes


@dataclass(frozen=True)
class Target:
    """A checkpoint to verify. `id` is None for a file that is no checkpoint of a run.

    `state` and `problems` are what its run says of it, which knows more than its bytes: whether it was committed.
    """

    path: str
    bytes: int
    id: str | None = None
    state: str = "complete"
    problems: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    """The other files of a checkpoint of several."""


@dataclass
class Outcome:
    """What came of all targets."""

    checked: list[tuple[Target, Verification]] = field(default_factory=list)
    """Those that were read, each with what it proved and the problems that its run knows of."""
    writing: list[Target] = field(default_factory=list)
    failed: list[tuple[Target, str]] = field(default_factory=list)

    @property
    def damaged(self) -> list[tuple[Target, Verification]]:
        """Those that are not what was written."""
        return [(target, found) for target, found in self.checked if found.damaged]

    @property
    def exit_code(self) -> int:
        """0 when all are whole, 1 when one is damaged, 3 when one could not be read."""
        return DAMAGED if self.damaged else FAILED if self.failed else 0

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
    """Answers `ckpt verify`. Ends with exit code 1 when something is damaged, 3 when something could not be read."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        if bool(refs) == everything:
            raise UsageError(
                "--all and a REF exclude each other" if refs else "what to verify is missing",
                hint="name a path, an id, RUN or RUN@SELECTOR; --all verifies everything that is known",
            )
        named = _everything(lookup) if everything else [target for ref in refs for target in _targets(lookup, ref)]
        targets = list({target.path: target for target in named}.values())
        if not targets:
            out.say("there is no checkpoint to verify")
        outcome = _verify(out, targets)

        def human() -> Iterable[str]:
            from ckpt_tui.render.verifying import verification_lines

            return verification_lines(outcome, paint=out.paint) if targets else ()

        out.data(outcome.to_json(), ids=[target.path for target, _ in outcome.damaged], human=human)
        if outcome.exit_code:
            raise typer.Exit(outcome.exit_code)


def _verify(out: Output, targets: Sequence[Target]) -> Outcome:
    outcome = Outcome()
    what = Path(targets[0].path).name if len(targets) == 1 else f"{len(targets)} checkpoints"
    waiting = [target for target in targets if target.state != "writing"]
    outcome.writing += [target for target in targets if target.state == "writing"]
    with out.progress(f"verifying {what}", sum(target.bytes for target in waiting)) as progress:
        for target in waiting:
            try:
                found = _proved(target, progress)
            except OSError as error:
                outcome.failed.append((target, from_os_error(error).message))
            except CkptError as error:
                outcome.failed.append((target, error.message))
            else:
                if found.state == "writing":
                    outcome.writing.append(target)
                elif target.state != "complete" and not found.damaged:
                    why = target.problems or (f"it is {target.state}",)
                    outcome.checked.append((target, found.evolve(problems=why)))
                else:
                    outcome.checked.append((target, found))
    return outcome


def _proved(target: Target, progress: Callable[[int], None] | None) -> Verification:
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


def _everything(lookup: Lookup) -> Iterator[Target]:
    for raw in lookup.client.get("/v1/runs")["runs"]:
        yield from _of_view(lookup.client.get("/v1/run", run=run_from_json(raw).id))


def _targets(lookup: Lookup, ref: str) -> Iterator[Target]:
    below = runs_below(ref)
    if below is not None:
        from ckpt.scan import run_view_to_json

        for directory in below:
            yield from _of_view(run_view_to_json(read_place(Place(directory))))
    elif lookup.names_run(ref):
        yield from _of_view(lookup.view(ref))
    else:
        yield _one(lookup, ref)


def _of_view(view: Mapping[str, Any]) -> Iterator[Target]:
    parts = _parts_below(run_from_json(view["run"]))
    for raw in view["checkpoints"]:
        checkpoint = checkpoint_from_json(raw)
        yield _target(checkpoint, parts.get(checkpoint.path, ()))


def _parts_below(run: Run) -> dict[str, tuple[str, ...]]:
    """The further files of a run's checkpoints, by their paths; answers of the daemon do not name them."""
    if run.own:
        return {}
    try:
        view = read_place(Place(Path(run.path)))
    except OSError:
        return {}
    return {checkpoint.path: other_parts(checkpoint) for checkpoint in view.checkpoints}


def _one(lookup: Lookup, ref: str) -> Target:
    try:
        found = lookup.find(ref)
    except AddressError:
        place = place_of(ref)
        if place is None or place.file is None:
            raise
        from ckpt.formats import inspect

        # What no run has for a checkpoint is verified as what it is.
        return Target(str(place.file), inspect(place.file).bytes)
    parts = other_parts(found.checkpoint) or _parts_below(found.run).get(found.checkpoint.path, ())
    return _target(found.checkpoint, parts)


def _target(checkpoint: Checkpoint, parts: tuple[str, ...]) -> Target:
    return Target(checkpoint.path, checkpoint.bytes, checkpoint.id, checkpoint.state, checkpoint.problems, parts)
