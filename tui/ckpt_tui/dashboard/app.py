"""The dashboard: `ckpt tui`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from ckpt.encoding import printable
from ckpt.exceptions import AddressError, UsageError
from ckpt_tui.dashboard.actions import ACTIONS
from ckpt_tui.dashboard.feed import Feed
from ckpt_tui.dashboard.screens.main import MainScreen


class Dashboard(App[int]):
    """Shows one feed."""

    TITLE = "ckpt"
    BINDINGS: ClassVar[list[BindingType]] = [
        # The first Ctrl-C of a terminal program is expected to end it.
        Binding("ctrl+c", "quit", "Quit", show=False, system=True),
    ]

    def __init__(self, feed: Feed, *, readonly: str | None = None) -> None:
        super().__init__()
        self.main = MainScreen(feed, readonly=readonly)

    def on_mount(self) -> None:
        """A terminal that is closed, or a plain kill, leaves the terminal as it was."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(RuntimeError, ValueError):  # not the main thread, as under a test
                loop.add_signal_handler(number, partial(self.exit, return_code=128 + number))

    def get_default_screen(self) -> Screen[None]:
        """The main screen."""
        return self.main

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: our actions with their keys, then what Textual offers."""
        if screen is self.main:
            for action in ACTIONS:
                off = self.main.why_not(action.id)
                said = f"off: {off}" if off else action.help
                method = action.method

                async def run(method: str = method) -> None:
                    await self.main.run_action(method)

                yield SystemCommand(f"{action.title}  ({action.shown_keys})", said, run)
        for command in super().get_system_commands(screen):
            if command.title in ("Theme", "Screenshot"):
                yield command


def run_dashboard(directory: str | None, readonly: bool = False) -> int:
    """Shows the dashboard until it is left; returns the exit code.

    With a directory its runs are read from disk, without a daemon; else the daemon is asked, and started when that is
    allowed. Raises UsageError without a terminal, AddressError for a directory that is none, and the errors of
    connecting to the daemon.
    """
    # Textual draws on stderr.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError("the dashboard needs a terminal", hint="`ckpt ls` prints the same as text")
    feed = _feed_for(directory)
    why = feed.open()
    if readonly:
        why = "started with --read-only"
    dashboard = Dashboard(feed, readonly=why)
    dashboard.run()
    return dashboard.return_code or 0


def _feed_for(directory: str | None) -> Feed:
    if directory is None:
        from ckpt_tui.dashboard.feeds.daemon import DaemonFeed

        return DaemonFeed()
    from ckpt_tui.dashboard.feeds.directory import DirectoryFeed

    path = Path(directory).expanduser().absolute()
    if not path.is_dir():
        shown = printable(str(path))
        what = "is not a directory" if path.exists() else "does not exist"
        raise AddressError(f"{shown} {what}", hint="name a directory with runs below it, or none to ask the daemon")
    return DirectoryFeed(path)
