"""Another config taken: what it changes is told beforehand, truly, and what it removes waits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ckptd.config.values import Config, Limits, Root, RunRule
from ckptd.reloading import foretell, take

LOOSE = {"keep_last": 5, "max_share": 1.0}
STRICT = {"keep_last": 2, "max_share": 1.0}


@pytest.fixture
def base(world: Any, runs: Any) -> Path:
    """Two own runs of six checkpoints each, that say nothing, below an enforced root."""
    for name in ("one", "two"):
        runs.run(name, checkpoints=6)
    world.roots.add(str(runs.base), "observe", [])
    world.roots.enforce(str(runs.base), {})
    world.scanner.full()
    return Path(runs.base)


def kept(world: Any) -> dict[str, int]:
    return {view.run.name: len(view.checkpoints) for view in world.catalog.all()}


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


def taken(world: Any, config: Config) -> list[str]:
    """A reload, after its foretelling, which has to have told the same."""
    foretold = foretell(world.parts, config)
    done = take(world.parts, config, [])
    assert done.changed == foretold.changed
    assert done.warnings == foretold.warnings
    return done.changed


def passes(monkeypatch: pytest.MonkeyPatch, world: Any, seconds: float) -> None:
    monkeypatch.setattr(world.keeper.delays, "_clock", lambda: time.monotonic() + seconds)


def test_what_a_stricter_policy_removes_waits(world: Any, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = taken(world, Config(policy=STRICT))
    assert changed[0] == "policy: no rule -> keep_last=2 max_share=1.0"
    assert changed[1].startswith("would now remove 8 more checkpoints, ")
    assert changed[1].endswith("of 2 runs: look with `ckpt plan`; nothing of that goes by itself for 10m")
    sweep(world)
    assert kept(world) == {"one": 6, "two": 6}
    asks = world.keeper.asks()
    assert len(asks) == 2
    assert all(ask["text"].startswith("config.toml was changed, and removes 4 more checkpoints, ") for ask in asks)
    passes(monkeypatch, world, 590.0)
    sweep(world)
    assert kept(world) == {"one": 6, "two": 6}
    passes(monkeypatch, world, 610.0)
    sweep(world)
    assert kept(world) == {"one": 2, "two": 2}
    assert world.keeper.asks() == []


def test_a_policy_that_is_changed_back_leaves_everything(
    world: Any, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(world, Config(policy=STRICT))
    sweep(world)
    taken(world, Config())
    passes(monkeypatch, world, 10_000.0)
    sweep(world)
    assert kept(world) == {"one": 6, "two": 6}
    assert world.keeper.asks() == []


def test_a_plan_that_a_person_applies_does_not_wait(world: Any, base: Path) -> None:
    taken(world, Config(policy=STRICT))
    sweep(world)
    (one, _) = sorted(world.catalog.all(), key=lambda view: str(view.run.name))
    world.keeper.apply(world.keeper.plan(one.run.id).id)
    assert kept(world) == {"one": 2, "two": 6}
    assert [ask["run"] for ask in world.keeper.asks()] != [one.run.id]


def test_a_second_reload_does_not_begin_the_wait_anew(world: Any, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(world, Config(policy=STRICT))
    passes(monkeypatch, world, 400.0)
    taken(world, Config(policy=STRICT, rescan_s=50.0))
    passes(monkeypatch, world, 610.0)
    sweep(world)
    assert kept(world) == {"one": 2, "two": 2}


def test_a_still_stricter_one_waits_from_then_on(world: Any, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(world, Config(policy=LOOSE))
    passes(monkeypatch, world, 400.0)
    taken(world, Config(policy=STRICT))
    passes(monkeypatch, world, 610.0)
    sweep(world)
    assert kept(world) == {"one": 6, "two": 6}
    passes(monkeypatch, world, 1010.0)
    sweep(world)
    assert kept(world) == {"one": 2, "two": 2}


def test_who_wants_no_delay_says_so(world: Any, base: Path) -> None:
    taken(world, Config(policy=STRICT, limits=Limits(reload_delay=0.0)))
    sweep(world)
    assert kept(world) == {"one": 2, "two": 2}


def test_what_the_old_policy_removed_does_not_wait(world: Any, base: Path) -> None:
    world.roots.set_policy(str(base), LOOSE)
    world.scanner.govern()
    taken(world, Config(policy={"keep_for": 60.0}))
    sweep(world)
    assert kept(world) == {"one": 5, "two": 5}


def test_to_foretell_changes_nothing(world: Any, base: Path) -> None:
    before = world.catalog.all()
    told = foretell(world.parts, Config(policy=STRICT, roots=(Root(path=str(base), origin="config.toml"),)))
    assert told.changed
    assert all(one is other for one, other in zip(before, world.catalog.all(), strict=True))
    assert world.roots.known(str(base)).root.origin == "command"
    assert world.policies.config == Config()


def test_a_root_that_a_command_named_too_is_still_watched(world: Any, base: Path) -> None:
    world.roots.set_policy(str(base), {"keep_last": 5, "keep_for": 3600.0})
    named = Config(roots=(Root(path=str(base), mode="enforce", policy={"keep_last": 4}, origin="config.toml"),))
    changed = taken(world, named)
    assert changed[:3] == [
        f"{base}: config.toml names it, and goes before what commands said of it",
        f"{base}: policy keep_last=5 keep_for=1h -> keep_last=4",
        f"{base}: keep_for there 1h -> as elsewhere",
    ]
    assert taken(world, Config())[:3] == [
        f"{base}: it stays watched, as commands have it",
        f"{base}: policy keep_last=4 -> keep_last=5 keep_for=1h",
        f"{base}: keep_for there as elsewhere -> 1h",
    ]
    assert world.roots.known(str(base)).root.policy == {"keep_last": 5, "keep_for": 3600.0}


def test_a_root_that_only_config_toml_named_is_no_longer_watched(world: Any, tmp_path: Path) -> None:
    (tmp_path / "r" / "inner").mkdir(parents=True)
    inner = str(tmp_path / "r" / "inner")
    world.configure(Config(roots=(Root(path=inner, origin="config.toml"),)))
    outer = Config(roots=(Root(path=str(tmp_path / "r"), origin="config.toml"),))
    assert taken(world, outer) == [
        f"watches {tmp_path}/r",
        f"{inner} is watched as a part of {tmp_path}/r, by what holds there",
    ]
    assert taken(world, Config()) == [f"no longer watches {tmp_path}/r; its files, marks and trash stay"]


def test_a_match_that_means_no_run_is_told(world: Any, base: Path) -> None:
    config = Config(runs=(RunRule(match="on*", policy={}), RunRule(match="thre*", policy={"keep_last": 1})))
    assert foretell(world.parts, config).warnings == ["run 2: no run that is known now matches 'thre*'"]


def test_a_restart_does_not_end_the_wait(world: Any, make_world: Any, base: Path) -> None:
    taken(world, Config(policy=STRICT))
    asks = {ask["text"] for ask in (sweep(world), world.keeper.asks())[1]}
    world.roots.remember()
    world.journal.close()
    again = make_world()
    again.parts.policies.config = Config(policy=STRICT)
    again.scanner.full()
    sweep(again)
    assert kept(again) == {"one": 6, "two": 6}
    assert {ask["text"] for ask in again.keeper.asks()} == asks
    again.keeper.delays._delays.clear()
    sweep(again)
    assert kept(again) == {"one": 2, "two": 2}
