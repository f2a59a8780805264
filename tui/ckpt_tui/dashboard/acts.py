"""What a person asks the dashboard to change: values that can be shown as a command before they are carried out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from ckpt.encoding import printable
from ckpt.records import Checkpoint, Record, Run

ActKind = Literal["tag", "untag", "pin", "unpin", "note", "restore", "fork", "trash restore", "undo"]


class Act(Record, frozen=True, kw_only=True):
    """One change, with everything that is needed to do it or to write it as a command."""

    kind: ActKind
    run: Run | None = None
    checkpoint: Checkpoint | None = None
    address: str = ""
    """How a command names the checkpoint."""
    text: str = ""
    """Tag name, note, destination of a restore, name of a fork, or what an undo takes back; by kind."""
    at: str | None = None
    """Directory in which a fork is made; None for its parent's own."""
    entries: tuple[str, ...] = ()
    """Ids in the trash."""
    shown: dict[str, Any] = msgspec.field(default_factory=dict)
    """What tells the act that an undo takes back from every other."""


def command_line(act: Act) -> str:
    """The `ckpt` command that does the same."""
    match act.kind:
        case "tag":
            return command("tag", "add", act.address, act.text)
        case "untag":
            return command("tag", "rm", act.address, act.text)
        case "fork":
            return command("fork", act.address, act.text, *(("--at", act.at) if act.at else ()))
        case "trash restore":
            return command("trash", "restore", *act.entries)
        case "undo":
            return command("undo")
        case "note" | "restore":
            return command(act.kind, act.address, act.text)
        case "pin" | "unpin":
            return command(act.kind, act.address)


def command(*words: str) -> str:
    """A `ckpt` command line that a POSIX shell takes as it stands, safe to show."""
    return printable(shlex.join(["ckpt", *words]))


def address_of(run_name: str, checkpoint: Checkpoint, siblings: Iterable[Checkpoint]) -> str:
    """The shortest address of a checkpoint in its run: by step where that is unique, else by id."""
    same = [c for c in siblings if c.step == checkpoint.step]
    if checkpoint.step is not None and len(same) <= 1:
        return f"{run_name}@step:{checkpoint.step}"
    return f"{run_name}@{checkpoint.id}"


def checkpoint_name(run: Run | None, checkpoint: Checkpoint) -> str:
    """A checkpoint as a sentence names it: its run and its step, or its file; other tools' files may share a step."""
    by_step = checkpoint.step is not None and (run is None or run.own)
    label = f"step {checkpoint.step}" if by_step else os.path.basename(checkpoint.path)
    return printable(f"{run.name} {label}" if run is not None else label)


def fork_destination(act: Act) -> str:
    """The directory that a fork will be made in. Raises ValueError when nothing says where."""
    if act.run is None:
        raise ValueError("a fork needs its parent run")
    base = act.at or os.path.dirname(act.run.path)
    return os.path.join(os.path.abspath(os.path.expanduser(base)), act.text)
