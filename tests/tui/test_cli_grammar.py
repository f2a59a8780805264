"""The commands by the modules that they are in."""

from __future__ import annotations

from importlib import import_module

import pytest
import typer

from ckpt_tui import commands
from ckpt_tui.commands.app import PARTS, build


@pytest.mark.parametrize("part", PARTS)
def test_each_module_has_the_commands_that_it_is_listed_with(part: str) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    import_module(f"{commands.__name__}.{part}").register(app)
    assert sorted(typer.main.get_command(app).commands) == sorted(PARTS[part])  # type: ignore[attr-defined]


def test_a_command_finds_itself_and_anything_else_finds_all() -> None:
    every = {name for names in PARTS.values() for name in names}
    for name in every:
        assert name in typer.main.get_command(build(name)).commands  # type: ignore[attr-defined]
    assert len(typer.main.get_command(build("ls")).commands) < len(every)  # type: ignore[attr-defined]
    for other in (None, "--help", "lss", "listing"):
        assert set(typer.main.get_command(build(other)).commands) == every  # type: ignore[attr-defined]
