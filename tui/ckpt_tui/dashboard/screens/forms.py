"""The forms of the acts on a checkpoint: what each asks for, and what it would do with the answer."""

from __future__ import annotations

import os
from collections.abc import Callable

from ckpt import marks
from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.records import Checkpoint, Run
from ckpt_tui.dashboard.acts import Act, checkpoint_name, command_line, fork_destination
from ckpt_tui.dashboard.screens.dialogs import Field, Form, Preview, Values
from ckpt_tui.wording import file_name, size_text


def _base(run: Run, checkpoint: Checkpoint, address: str) -> Act:
    return Act(kind="pin", run=run, checkpoint=checkpoint, address=address)


def tag_act(run: Run, checkpoint: Checkpoint, address: str, values: Values) -> Act:
    """The tag is added, or taken away when the checkpoint has it."""
    name = values["name"]
    kind = "untag" if name in checkpoint.tags else "tag"
    act: Act = _base(run, checkpoint, address).evolve(kind=kind, text=name)
    return act


def tag_form(run: Run, checkpoint: Checkpoint, address: str) -> Form:
    """Asks for a tag."""
    own = [tag for tag in checkpoint.tags if not marks.RESERVED_TAG.match(tag)]
    has = (
        f"It has: {printable(', '.join(own))}. Giving one of these takes it away." if own else "It has no tag of yours."
    )

    def preview(values: Values) -> Preview:
        act = tag_act(run, checkpoint, address, values)
        problem = ""
        if not act.text:
            return Preview(command_line(act.evolve(text="NAME")), "a name is needed")
        try:
            marks.check_tag(act.text)
        except UsageError as error:
            problem = str(error)
        return Preview(command_line(act), problem)

    title = f"Tag {checkpoint_name(run, checkpoint)}"
    return Form(title, has, [Field("name", "name", placeholder="paper")], preview, label="Tag")


def note_act(run: Run, checkpoint: Checkpoint, address: str, values: Values) -> Act:
    """The note is replaced; an empty one removes it."""
    act: Act = _base(run, checkpoint, address).evolve(kind="note", text=values["text"])
    return act


def note_form(run: Run, checkpoint: Checkpoint, address: str) -> Form:
    """Asks for a note."""
    return Form(
        f"Note on {checkpoint_name(run, checkpoint)}",
        "An empty note removes it.",
        [Field("text", "note", checkpoint.note or "")],
        lambda values: Preview(command_line(note_act(run, checkpoint, address, values))),
        label="Note",
    )


def restore_act(run: Run, checkpoint: Checkpoint, address: str, values: Values) -> Act:
    """The checkpoint's files are copied to the destination."""
    act: Act = _base(run, checkpoint, address).evolve(kind="restore", text=values["to"])
    return act


def restore_form(run: Run, checkpoint: Checkpoint, address: str) -> Form:
    """Asks for a destination, and says what will be copied."""

    def preview(values: Values) -> Preview:
        act = restore_act(run, checkpoint, address, values)
        target = os.path.abspath(os.path.expanduser(act.text)) if act.text else ""
        if not target:
            return Preview(command_line(act.evolve(text="DEST")), "a destination is needed")
        into = os.path.isdir(target) or act.text.endswith(os.sep) or not os.path.splitext(target)[1]
        final = os.path.join(target, os.path.basename(checkpoint.path)) if into else target
        problem = "it exists already: nothing is overwritten" if os.path.lexists(final) else ""
        return Preview(command_line(act), problem, f"to {printable(final)}")

    files = checkpoint.files or (checkpoint.path,)
    names = ", ".join(file_name(path) for path in files[:4]) + (" …" if len(files) > 4 else "")
    text = f"Copies {names} ({size_text(checkpoint.bytes)}). The original stays."
    if checkpoint.state != "complete":
        text += f"\nIt is {checkpoint.state}: the copy will be too."
    title = f"Restore {checkpoint_name(run, checkpoint)}"
    start = os.path.join(os.getcwd(), os.path.basename(checkpoint.path))
    return Form(title, text, [Field("to", "destination: a file, or a directory", start)], preview, label="Restore")


def fork_act(run: Run, checkpoint: Checkpoint, address: str, values: Values) -> Act:
    """A new run starts at the checkpoint."""
    act: Act = _base(run, checkpoint, address).evolve(kind="fork", text=values["name"], at=values["at"] or None)
    return act


def fork_form(
    run: Run, checkpoint: Checkpoint, address: str, *, taken: Callable[[str], bool] = os.path.lexists
) -> Form:
    """Asks for the new run's name, and where it goes."""

    def preview(values: Values) -> Preview:
        act = fork_act(run, checkpoint, address, values)
        shown = command_line(act if act.text else act.evolve(text="NAME"))
        if not act.text or "/" in act.text or "@" in act.text or act.text in (".", ".."):
            return Preview(shown, "a name is needed, without / and @")
        if not run.own and not act.at:
            return Preview(shown, "say where: nothing is written beside what another framework wrote")
        if checkpoint.state != "complete":
            return Preview(shown, f"it is {checkpoint.state}: only a complete checkpoint can be forked")
        target = fork_destination(act)
        problem = "it exists already: choose another name" if taken(target) else ""
        return Preview(shown, problem, f"new run in {printable(target)}")

    text = "Copies the checkpoint as the start of a new run; config and policy go along, the parent stays."
    return Form(
        f"Fork {checkpoint_name(run, checkpoint)}",
        text,
        [
            Field("name", "name of the new run", f"{os.path.basename(run.path)}-fork"),
            Field("at", "directory for it", placeholder="beside its parent" if run.own else "needed for this run"),
        ],
        preview,
        label="Fork",
    )
