"""Every action of the dashboard: its stable id, keys, words, and the command that does the same.

Bindings, palette, help and hint line are all made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True)
class Action:
    """One thing that a person can do."""

    id: str
    """Stable name, for keymaps: `group.verb`."""
    keys: str
    title: str
    help: str
    method: str
    """Action of the main screen that does it, with its arguments."""
    command: str = ""
    """The command that does the same; "" for what only a screen can do."""
    changes: bool = False
    """Whether it may change something on disk; such ones are off when read-only."""
    hint: bool = False
    """Whether the hint line names it."""

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    @property
    def shown_keys(self) -> str:
        """The keys as a person reads them."""
        names = {
            "question_mark": "?",
            "slash": "/",
            "space": "space",
            "ctrl+p": "ctrl-p",
            "escape": "esc",
            "shift+tab": "shift-tab",
        }
        return " ".join(names.get(key, key) for key in self.keys.split(","))


GROUPS = {"look": "Looking", "checkpoint": "This checkpoint", "run": "This run", "go": "Going around"}

ACTIONS = (
    Action(
        "look.filter",
        "slash",
        "Filter",
        "Narrow the table as you type; esc takes it back",
        "filter",
        "ckpt ls --filter …",
        hint=True,
    ),
    Action("look.sort", "s", "Sort", "Next order of the table", "sort", "ckpt ls --sort …"),
    Action("look.metric", "m", "Metric", "Next metric in the curve", "metric"),
    Action("look.log", "y", "Log scale", "Switch the curve's y axis", "log_scale"),
    Action("look.zoom", "z", "Zoom", "Give one pane the whole screen, and back", "zoom"),
    Action("checkpoint.mark", "space", "Mark", "Mark for comparing; marks stay across runs", "mark", hint=True),
    Action(
        "checkpoint.diff",
        "d",
        "Diff",
        "Compare two marked ones, or the marked one with this",
        "diff",
        "ckpt diff A B",
        hint=True,
    ),
    Action(
        "checkpoint.restore",
        "r",
        "Restore",
        "Copy it to another place",
        "restore",
        "ckpt restore REF DEST",
        changes=True,
        hint=True,
    ),
    Action(
        "checkpoint.fork", "f", "Fork", "Start a new run from it", "fork", "ckpt fork REF NAME", changes=True, hint=True
    ),
    Action(
        "checkpoint.tag",
        "t",
        "Tag",
        "Name it; a name it has already is taken away",
        "tag",
        "ckpt tag add REF NAME",
        changes=True,
        hint=True,
    ),
    Action(
        "checkpoint.pin",
        "p",
        "Pin",
        "Protect it from every policy, or stop to",
        "pin",
        "ckpt pin REF",
        changes=True,
        hint=True,
    ),
    Action("checkpoint.note", "n", "Note", "Write a line about it", "note", "ckpt note REF TEXT", changes=True),
    Action("run.plan", "P", "Plan", "What the policy keeps and removes, and why", "plan", "ckpt plan RUN"),
    Action("run.trash", "T", "Trash", "What was removed of it, to bring it back", "trash", "ckpt trash ls RUN"),
    Action("run.undo", "u", "Undo", "Take the last act back, after asking", "undo", "ckpt undo", changes=True),
    Action("go.open", "enter", "Go in", "From a run to its checkpoints, from a checkpoint to its details", "go_in"),
    Action("go.next", "tab", "Next pane", "Move to the next pane", "pane_next(1)"),
    Action("go.previous", "shift+tab", "Previous pane", "Move to the pane before", "pane_next(-1)"),
    Action("go.runs", "1", "Runs", "Move to the runs", "pane('runs')", "ckpt ls"),
    Action(
        "go.checkpoints", "2", "Checkpoints", "Move to the checkpoints of the run", "pane('checkpoints')", "ckpt ls RUN"
    ),
    Action("go.curve", "3", "Curve", "Move to the curve", "pane('curve')"),
    Action("go.details", "4", "Details", "Move to the details", "pane('details')", "ckpt show REF"),
    Action("go.back", "escape", "Back", "Leave, step by step: zoom, filter, marks, pane", "back"),
    Action("go.help", "question_mark", "Help", "Every key, and what cannot be done now and why", "help", hint=True),
    Action("go.quit", "q", "Quit", "Leave the dashboard; nothing stops", "quit", hint=True),
)


def bindings() -> list[Binding]:
    """The main screen's bindings."""
    return [
        Binding(action.keys, action.method, action.title, id=action.id, tooltip=action.help, show=False)
        for action in ACTIONS
    ]
