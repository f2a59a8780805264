"""The dashboard under a pilot: what keys do, at several sizes, on a scripted feed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from ckpt.exceptions import NoDaemonError
from ckpt_tui.dashboard.actions import ACTIONS
from ckpt_tui.dashboard.app import Dashboard
from ckpt_tui.dashboard.feed import RunDetail, Standing
from ckpt_tui.dashboard.feeds.scripted import ScriptedFeed, showcase
from ckpt_tui.dashboard.screens.dialogs import Confirm, Form
from ckpt_tui.dashboard.screens.main import MainScreen
from ckpt_tui.dashboard.screens.pages import Page
from ckpt_tui.dashboard.screens.panes import PANES
from ckpt_tui.dashboard.screens.trash import TrashScreen
from ckpt_tui.dashboard.widgets.pager import Pager


def text_of(app: Dashboard) -> str:
    """The screen as characters."""
    return "\n".join("".join(s.text for s in strip) for strip in app.screen._compositor.render_strips())


async def until(check: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def dashboard(
    feed: ScriptedFeed | None = None, size: tuple[int, int] = (120, 32), readonly: str | None = None
) -> AsyncIterator[tuple[Dashboard, MainScreen, ScriptedFeed, Pilot[int]]]:
    """The app with its first run on the screen."""
    feed = feed if feed is not None else showcase(time.time(), runs=3, checkpoints=8)
    app = Dashboard(feed, readonly=readonly)
    async with app.run_test(size=size) as pilot:
        if feed.details:
            await until(lambda: len(app.main.checkpoints_table.rows) > 0 and app.main.board.curves)
        await pilot.pause()
        yield app, app.main, feed, pilot


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (140, 40), (220, 60)])
async def test_every_size_shows_a_run_and_the_focused_pane(size: tuple[int, int]) -> None:
    async with dashboard(size=size) as (app, main, _, pilot):
        assert "digits-lr3e-3" in text_of(app)
        for number, name in enumerate(PANES, start=1):
            await pilot.press(str(number))
            pane = main.query_one(f"#{name}")
            assert pane.has_focus and pane.size.width > 20 and pane.size.height >= 4, name
        shown = [name for name in PANES if main.query_one(f"#{name}").size.width]
        assert len(shown) == {60: 1, 80: 3, 140: 4, 220: 4}[size[0]]


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "nord"])
async def test_every_theme_draws(theme: str) -> None:
    async with dashboard() as (app, _, _, pilot):
        app.theme = theme
        await pilot.press("enter", "j", "4", "question_mark", "escape", "P", "escape", "T")
        await pilot.pause()
        assert "Trash" in text_of(app)


async def test_no_color_is_respected_and_the_cursor_still_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with dashboard() as (app, _, _, pilot):
        assert app.no_color
        await pilot.press("enter", "space")
        await pilot.pause(0.2)
        strips = app.screen._compositor.render_strips()
        colours = {s.style.color.get_truecolor() for strip in strips for s in strip if s.style and s.style.color}
        assert all(c.red == c.green == c.blue for c in colours), colours
        assert "▸" in text_of(app) and "◆" in text_of(app)


async def test_moving_in_and_back_and_the_details_follow() -> None:
    async with dashboard() as (_, main, feed, pilot):
        await pilot.press("j")
        second = feed.runs()[1]
        await until(lambda: main.checkpoints_table.rows and main.checkpoints_table.rows[0].run == second.id)
        await pilot.press("enter", "G")
        last = main.checkpoints_table.current
        assert last is not None and last.step == 100
        await until(lambda: "step-000100.pt" in main.details.text)
        await pilot.press("g", "ctrl+d", "ctrl+u", "escape")
        assert main.checkpoints_table.cursor == 0
        assert main.runs_table.has_focus
        await until(lambda: "config" in main.details.text)


async def test_the_details_tell_what_a_resume_finds() -> None:
    feed = showcase(time.time(), runs=1, checkpoints=3)
    (detail,) = feed.details.values()
    newest, second, third = detail.checkpoints
    feed.resumes = {
        second.id: {"model": True, "optimizer": False},
        third.id: {
            "model": True,
            "optimizer": True,
            "data": True,
            "rng": {"python": True, "numpy": True, "torch": True},
        },
    }
    async with dashboard(feed) as (_, main, _, pilot):
        await pilot.press("enter")
        await until(lambda: main.details.text.startswith("step-000300.pt"))
        assert newest.state == "writing" and "resume" not in main.details.text
        await pilot.press("j")
        await until(lambda: "resume       weights only" in main.details.text)
        await pilot.press("j")
        await until(lambda: "resumes exactly, as far as can be told" in main.details.text)
        feed.resumes.clear()
        await pilot.press("k")
        await until(lambda: "resume       weights only" in main.details.text)


async def test_checkpoints_appear_as_they_are_written_and_the_cursor_stays() -> None:
    async with dashboard() as (_, main, feed, pilot):
        await pilot.press("enter", "j", "j")
        held = main.checkpoints_table.current
        assert held is not None
        detail = feed.details[held.run]
        new = detail.checkpoints[0].evolve(id="new", step=900, seq=99)
        feed.put(detail.evolve(checkpoints=(new, *detail.checkpoints)))
        await until(lambda: len(main.checkpoints_table.rows) == 9)
        assert main.checkpoints_table.current is not None
        assert main.checkpoints_table.current.id == held.id
        assert main.checkpoints_table.cursor == 3


async def test_an_untouched_cursor_stays_on_the_newest() -> None:
    async with dashboard() as (_, main, feed, _pilot):
        first = main.checkpoints_table.rows[0]
        detail = feed.details[first.run]
        feed.put(detail.evolve(checkpoints=(first.evolve(id="new", step=900), *detail.checkpoints)))
        await until(lambda: len(main.checkpoints_table.rows) == 9)
        assert main.checkpoints_table.current is not None and main.checkpoints_table.current.id == "new"


async def test_the_mouse_moves_opens_and_sorts() -> None:
    async with dashboard() as (_, main, _feed, pilot):
        await pilot.click("#checkpoints", offset=(10, 4))
        assert main.checkpoints_table.has_focus and main.checkpoints_table.cursor == 2
        await pilot.click("#checkpoints", offset=(10, 1))
        assert main.checkpoints_table.rows[0].step == 100
        await pilot.click("#runs", offset=(5, 3))
        assert main.runs_table.has_focus and main.runs_table.cursor == 1


async def test_the_palette_finds_an_action_by_name() -> None:
    async with dashboard() as (_, main, feed, pilot):
        await pilot.press("enter", "ctrl+p", *"pin")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await until(lambda: [a.kind for a in feed.done] == ["pin"])
        assert main.is_active


async def test_the_filter_is_live_escape_takes_it_back_enter_keeps_it() -> None:
    async with dashboard() as (_, main, feed, pilot):
        await pilot.press("enter", "slash", *"step>600")
        table = main.checkpoints_table
        assert [c.step for c in table.rows] == [800, 700]
        await pilot.press("escape")
        assert len(table.rows) == 8 and table.has_focus
        await pilot.press("slash", *"step>", "enter")
        assert len(table.rows) == 8
        await pilot.press("slash", "ctrl+u", *"paper", "enter")
        assert [c.step for c in table.rows] == [400]
        assert feed.done == []  # p, r, t, d in the text were letters, not keys
        await pilot.press("escape")
        assert len(table.rows) == 8


async def test_sort_metric_and_log_scale() -> None:
    async with dashboard() as (_, main, _, pilot):
        await pilot.press("enter", "s")
        values = [c.metrics["val_loss"] for c in main.checkpoints_table.rows if c.state == "complete"]
        assert values == sorted(values)
        first = main.metric
        await pilot.press("m", "y")
        assert main.metric != first and main.log_y
        assert "log" in str(main.chart.border_title)


async def test_marks_stay_across_runs_and_d_compares() -> None:
    async with dashboard() as (app, main, feed, pilot):
        feed.difference = {"same": False, "metrics": [{"key": "[bold]val", "a": 1.0, "b": 2.0}]}
        await pilot.press("enter", "d")
        assert app.screen is main  # nothing marked: said, not done
        await pilot.press("space", "escape", "j")
        await until(lambda: main.board.detail is not None and main.board.detail.run.id == feed.runs()[1].id)
        await pilot.press("enter", "d")
        assert isinstance(app.screen, Page)
        page = app.screen.query_one(Pager)
        await until(lambda: "[bold]val" in page.text)
        assert "+1" in page.text
        assert str(page.border_subtitle).startswith("$ ckpt diff digits-lr3e-3@step:800 digits-lr1e-3@step:800")
        await pilot.press("q")
        assert app.screen is main


async def test_pin_and_unpin_show_the_command() -> None:
    async with dashboard() as (_, main, feed, pilot):
        await pilot.press("enter", "p")
        await until(lambda: main.commands == ["ckpt pin digits-lr3e-3@step:800"])
        await until(lambda: main.checkpoints_table.rows[0].pinned)
        await pilot.press("p")
        await until(lambda: [a.kind for a in feed.done] == ["pin", "unpin"])


async def test_a_tag_is_checked_while_it_is_typed() -> None:
    async with dashboard() as (app, main, feed, pilot):
        await pilot.press("enter", "t", *"best", "enter")
        assert isinstance(app.screen, Form)  # reserved: the form stays and says so
        assert app.screen.query_one("#confirm", Button).disabled
        app.screen.query_one(Input).value = "thesis"
        await pilot.press("enter")
        await until(lambda: "thesis" in main.checkpoints_table.rows[0].tags)
        assert feed.done[0].kind == "tag"


async def test_restore_shows_what_where_and_how(tmp_path: Path) -> None:
    (tmp_path / "taken.pt").write_bytes(b"")
    async with dashboard() as (app, main, feed, pilot):
        await pilot.press("enter", "j", "r")
        assert isinstance(app.screen, Form)
        field = app.screen.query_one(Input)
        field.value = str(tmp_path / "taken.pt")
        await pilot.pause()
        assert "nothing is overwritten" in text_of(app)
        await pilot.press("enter")
        assert isinstance(app.screen, Form)
        field.value = str(tmp_path / "new.pt")
        await pilot.press("enter")
        await until(lambda: feed.done)
        assert feed.done[0].kind == "restore" and feed.done[0].text == str(tmp_path / "new.pt")
        assert main.is_active


async def test_fork_asks_for_a_name_and_escape_forks_nothing() -> None:
    async with dashboard() as (app, _, feed, pilot):
        await pilot.press("enter", "j", "f")
        assert "ckpt fork digits-lr3e-3@step:700 digits-lr3e-3-fork" in text_of(app)
        await pilot.press("escape")
        assert feed.done == []
        await pilot.press("f", "enter")
        await until(lambda: [a.kind for a in feed.done] == ["fork"])


async def test_undo_names_the_act_and_only_another_key_confirms() -> None:
    async with dashboard() as (app, main, feed, pilot):
        await pilot.press("u")
        await pilot.pause(0.1)
        assert app.screen is main  # nothing to undo: said
        await pilot.press("enter", "p")
        await until(lambda: feed.done)
        await pilot.press("u")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.pause()
        assert app.screen.focused is not None and app.screen.focused.id == "cancel"
        await pilot.press("u", "enter")
        assert app.screen is main and len(feed.done) == 1
        await pilot.press("u")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(lambda: [a.kind for a in feed.done] == ["pin", "undo"])


async def test_the_trash_restores_after_asking() -> None:
    feed = showcase(time.time(), runs=1, checkpoints=4)
    run_id = feed.runs()[0].id
    feed.entries = [
        {"id": "e1", "run": run_id, "path": "/r/step-1.pt", "bytes": 5, "trashed_at": 10.0, "purge_at": 86410.0}
    ]
    async with dashboard(feed) as (app, main, _, pilot):
        await pilot.press("T")
        screen = app.screen
        assert isinstance(screen, TrashScreen)
        await until(lambda: screen.table.rows)
        await pilot.pause()
        assert "step-1.pt" in text_of(app) and "digits-lr3e-3" in text_of(app) and "1d" in text_of(app)
        await pilot.press("r")
        assert "ckpt trash restore e1" in text_of(app)
        await pilot.press("y")
        await until(lambda: [a.entries for a in feed.done] == [("e1",)])
        await until(lambda: app.screen is main)


async def test_the_trash_is_that_of_the_run_or_of_all() -> None:
    feed = showcase(time.time(), runs=2, checkpoints=3)
    feed.entries = [
        {"id": f"e{n}", "run": run_id, "path": f"/r/gone-{n}.pt", "bytes": 5, "trashed_at": 10.0, "purge_at": 86410.0}
        for n, run_id in enumerate(feed.details)
    ]
    async with dashboard(feed) as (app, main, _, pilot):
        await until(lambda: main.board.selected)
        mine = next(e for e in feed.entries if e["run"] == main.board.selected)
        await pilot.press("T")
        screen = app.screen
        assert isinstance(screen, TrashScreen)
        await until(lambda: screen.table.rows == [mine])
        await pilot.press("a")
        await until(lambda: len(screen.table.rows) == 2)
        await pilot.pause()
        assert "all runs" in text_of(app)
        await pilot.press("a")
        await until(lambda: screen.table.rows == [mine])


async def test_a_plan_that_waits_for_a_word_is_seen_at_its_run() -> None:
    feed = showcase(time.time(), runs=2, checkpoints=3)
    run_id = next(iter(feed.details))
    async with dashboard(feed) as (app, main, _, _pilot):
        feed.stands = Standing(asks={run_id: "it would remove 9 of 10"})
        feed.put(feed.details[run_id])
        await until(lambda: main.board.standing.asks)
        await until(lambda: "? 1 asks" in text_of(app))
        name = main.board.name(feed.details[run_id].run)
        assert f"? {name}"[:12] in text_of(app)


async def test_the_plan_says_what_goes_and_why() -> None:
    async with dashboard() as (app, _, _, pilot):
        await pilot.press("P")
        page = app.screen.query_one(Pager)
        await until(lambda: "REMOVE" in page.text)
        assert "from the newest, 3 are kept" in page.text and "best val_loss" in page.text


async def test_read_only_changes_nothing_and_help_says_why() -> None:
    async with dashboard(readonly="started with --read-only") as (app, main, feed, pilot):
        await pilot.press("enter", "p", "t", "n", "r", "f", "u")
        assert app.screen is main and feed.done == []
        await pilot.press("question_mark")
        page = app.screen.query_one(Pager)
        assert page.text.count("off: started with --read-only") == sum(a.changes for a in ACTIONS)
        assert all(action.title in page.text for action in ACTIONS)


async def test_a_lost_daemon_is_told_and_makes_it_read_only_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckpt_tui.dashboard.reader.PING_S", 0.1)
    async with dashboard() as (app, main, feed, pilot):
        feed.lost = NoDaemonError("the daemon is gone")
        await until(lambda: main.lost)
        await pilot.press("enter", "p")
        assert "read-only" in text_of(app) and "digits-lr3e-3" in text_of(app)
        feed.lost = None
        await until(lambda: main.lost is None)
        await pilot.press("p")
        await until(lambda: [a.kind for a in feed.done] == ["pin"])


async def test_empty_states_name_the_next_command() -> None:
    async with dashboard(ScriptedFeed()) as (app, main, _, pilot):
        await until(lambda: main.read_once)
        await pilot.pause()
        assert "No runs yet." in text_of(app) and "ckpt watch add DIR" in text_of(app)
        await pilot.press("p", "d", "space", "r", "P", "m")  # said, and nothing breaks
        assert app.screen is main


async def test_hostile_names_are_text(tmp_path: Path) -> None:
    feed = showcase(time.time(), runs=1, checkpoints=3)
    detail: RunDetail = next(iter(feed.details.values()))
    name = "[red]\x1b[2J[x] $(id)"
    feed.put(detail.evolve(run=detail.run.evolve(name=name, path=f"/runs/{name}")))
    async with dashboard(feed) as (app, main, _, pilot):
        await pilot.press("z")
        assert "[red]\\x1b[2J[x] $(id)" in text_of(app)
        await pilot.press("z", "enter", "j", "t")
        assert "Tag [red]\\x1b[2J[x] $(id) step" in text_of(app)
        await pilot.press("escape", "n", "escape", "P", "escape", "question_mark", "escape")
        assert app.screen is main


async def test_the_palette_offers_every_action() -> None:
    async with dashboard() as (app, main, _, _pilot):
        titles = [command.title for command in app.get_system_commands(main)]
        assert titles[: len(ACTIONS)] == [f"{a.title}  ({a.shown_keys})" for a in ACTIONS]


def test_every_action_has_its_own_id_and_keys() -> None:
    keys = [key for action in ACTIONS for key in action.keys.split(",")]
    assert len(set(keys)) == len(keys)
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    for action in ACTIONS:
        assert hasattr(MainScreen, f"action_{action.method.partition('(')[0]}"), action.id
