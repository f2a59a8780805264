"""What going from one config to another changes."""

from __future__ import annotations

from ckptd.config.effects import effects
from ckptd.config.values import Config, Root


def test_the_same_config_changes_nothing() -> None:
    config = Config(rescan_s=30, exclude=("a", "b"), roots=(Root(path="/x", exclude=("c", "d")), Root(path="/y")))
    turned = config.evolve(exclude=("b", "a"), roots=(Root(path="/y"), Root(path="/x", exclude=("d", "c"))))
    assert effects(config, config) == effects(config, turned) == []


def test_every_change_is_a_sentence() -> None:
    old = Config(
        roots=(Root(path="/gone"), Root(path="/data/x", exclude=("tmp*",)), Root(path="/data/z", poll=True)),
        exclude=("scratch",),
    )
    new = Config(
        rescan_s=30,
        poll_s=2.5,
        idle_exit_s=60,
        roots=(Root(path="/data/x", poll=True), Root(path="/data/z"), Root(path="/new\nroot")),
    )
    assert effects(old, new) == [
        "rescan_s: 60 -> 30",
        "poll_s: 10 -> 2.5",
        "idle_exit_s: 600 -> 60",
        "exclude: scratch -> nothing",
        r"watches /new\x0aroot",
        "no longer watches /gone; its files, marks and trash stay",
        "/data/x: exclude tmp* -> nothing",
        "/data/x: changes are looked for",
        "/data/z: changes are told by events",
    ]
