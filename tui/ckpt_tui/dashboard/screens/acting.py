"""What a person can change from the main screen: each act is made, shown as a command, and carried out in a thread."""

from __future__ import annotations

from collections.abc import Callable

from textual import on, work

from ckpt.exceptions import CkptError
from ckpt.records import Checkpoint, Run
from ckpt_tui.dashboard.acts import Act, ActKind, checkpoint_name, command_line
from ckpt_tui.dashboard.board import Board
from ckpt_tui.dashboard.feed import Feed
from ckpt_tui.dashboard.messages import ActFailed, Performed, UndoKnown
from ckpt_tui.dashboard.screens import forms
from ckpt_tui.dashboard.screens.dialogs import Confirm, Form, Values
from ckpt_tui.dashboard.screens.trash import TrashScreen
from ckpt_tui.dashboard.widgets.tones import TonedScreen

Target = tuple[Run, Checkpoint, str]
"""A run, one of its checkpoints, and how a command names it."""

ACT_OF: dict[str, ActKind] = {
    "checkpoint.restore": "restore",
    "checkpoint.fork": "fork",
    "checkpoint.tag": "tag",
    "checkpoint.pin": "pin",
    "checkpoint.note": "note",
    "run.undo": "undo",
}
"""Actions that change something, by id."""


class Acting(TonedScreen[None]):
    """Acts on the checkpoint under the cursor, with the reason said aloud when one cannot be done."""

    def __init__(self, feed: Feed, *, readonly: str | None) -> None:
        super().__init__()
        self.feed = feed
        self.board = Board()
        self.readonly = readonly
        """Why nothing may be changed for the whole session; None when it may."""
        self.lost: str | None = None
        """Why the source does not answer now; None when it does."""
        self.commands: list[str] = []
        """Command lines of what was done, oldest first."""

    def current_checkpoint(self) -> Checkpoint | None:
        """The checkpoint under the cursor; None when there is none, as on a screen without tables."""
        return None

    def why_not(self, action_id: str) -> str | None:
        """Why an action is off now; None when it is on."""
        kind = ACT_OF.get(action_id)
        if kind is None:
            return None
        if self.readonly:
            return self.readonly
        if self.lost:
            return "the source does not answer, so this is read-only until it does"
        detail = self.board.detail
        return self.feed.cannot(kind, detail.run if detail else None)

    def warn(self, text: str) -> None:
        """Says why nothing happened."""
        self.notify(text, severity="warning", markup=False)

    def target(self, action_id: str) -> Target | None:
        """What an action would act on; None, with the reason said, when there is nothing or it is off."""
        reason = self.why_not(action_id)
        detail, checkpoint = self.board.detail, self.current_checkpoint()
        if reason is None and (detail is None or checkpoint is None):
            reason = "There is no checkpoint under the cursor."
        if reason is not None or detail is None or checkpoint is None:
            self.warn(reason or "")
            return None
        return detail.run, checkpoint, self.feed.address(detail.run, checkpoint, detail.checkpoints)

    # Acts

    def action_pin(self) -> None:
        """Pins, or unpins."""
        target = self.target("checkpoint.pin")
        if target is not None:
            run, checkpoint, address = target
            kind: ActKind = "unpin" if checkpoint.pinned else "pin"
            self.perform(Act(kind=kind, run=run, checkpoint=checkpoint, address=address))

    def action_tag(self) -> None:
        """Asks for a tag."""
        self._ask("checkpoint.tag", forms.tag_form, forms.tag_act)

    def action_note(self) -> None:
        """Asks for a note."""
        self._ask("checkpoint.note", forms.note_form, forms.note_act)

    def action_restore(self) -> None:
        """Asks for a destination."""
        self._ask("checkpoint.restore", forms.restore_form, forms.restore_act)

    def action_fork(self) -> None:
        """Asks for the name of the new run."""
        self._ask("checkpoint.fork", forms.fork_form, forms.fork_act)

    def _ask(
        self,
        action_id: str,
        form: Callable[[Run, Checkpoint, str], Form],
        act: Callable[[Run, Checkpoint, str, Values], Act],
    ) -> None:
        target = self.target(action_id)
        if target is None:
            return

        def answered(values: dict[str, str] | None) -> None:
            if values is not None:
                self.perform(act(*target, values))

        self.app.push_screen(form(*target), answered)

    def action_trash(self) -> None:
        """Shows the trash."""
        reason = self.readonly or (
            "the source does not answer" if self.lost else self.feed.cannot("trash restore", None)
        )
        names = {run.id: self.board.name(run) for run in self.board.runs}

        def answered(act: Act | None) -> None:
            if act is not None:
                self.perform(act)

        def name(run_id: str) -> str:
            return names.get(run_id, run_id[:12])

        self.app.push_screen(TrashScreen(self.feed, name, reason, self.board.selected), answered)

    def action_undo(self) -> None:
        """Finds out what would be taken back, then asks."""
        reason = self.why_not("run.undo")
        if reason:
            self.warn(reason)
        else:
            self._find_undo()

    @work(thread=True, exclusive=True, exit_on_error=False, group="undo")
    def _find_undo(self) -> None:
        try:
            act = self.feed.undoable()
        except (CkptError, OSError) as error:
            self.post_message(ActFailed(Act(kind="undo"), str(error)))
        else:
            self.post_message(UndoKnown(act))

    @on(UndoKnown)
    def _ask_undo(self, message: UndoKnown) -> None:
        act = message.act
        if act is None:
            self.notify("There is nothing to undo.", markup=False)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.perform(act)

        text = f"This takes back:\n  {act.text}"
        self.app.push_screen(Confirm("Undo", text, command_line(act), label="Take it back"), answered)

    @work(thread=True, exit_on_error=False, group="act")
    def perform(self, act: Act) -> None:
        """Carries an act out in a thread; the answer comes as a message."""
        try:
            text = self.feed.perform(act)
        except (CkptError, OSError) as error:
            self.post_message(ActFailed(act, str(error)))
        else:
            self.post_message(Performed(act, text))

    @on(Performed)
    def _tell_performed(self, message: Performed) -> None:
        line = command_line(message.act)
        self.commands.append(line)
        self.notify(f"$ {line}", title=message.text, markup=False)

    @on(ActFailed)
    def _tell_failed(self, message: ActFailed) -> None:
        what: str = message.act.kind
        if message.act.checkpoint is not None:
            what += f" {checkpoint_name(message.act.run, message.act.checkpoint)}"
        self.notify(message.text, title=f"{what}: not done", severity="error", timeout=10, markup=False)
