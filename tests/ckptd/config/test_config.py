"""What going from one config to another changes."""

from __future__ import annotations

from ckptd.config.effects import effects, root_effects
from ckptd.config.values import Config, Limits, Root, RunRule


def whole(old: Config, new: Config) -> list[str]:
    return [*effects(old, new), *root_effects(old.roots, new.roots)]


def test_the_same_config_changes_nothing() -> None:
    config = Config(rescan_s=30, exclude=("a", "b"), roots=(Root(path="/x", exclude=("c", "d")), Root(path="/y")))
    turned = config.evolve(exclude=("b", "a"), roots=(Root(path="/y"), Root(path="/x", exclude=("d", "c"))))
    assert whole(config, config) == whole(config, turned) == []


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
    assert whole(old, new) == [
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


def test_changes_of_policies_are_sentences() -> None:
    old = Config(
        policy={"keep_last": 5},
        runs=(RunRule(match="a*", policy={"keep_best": 1}), RunRule(match="b", policy={})),
        roots=(Root(path="/x"),),
    )
    new = Config(
        policy={"keep_last": 3, "keep_for": 129600.0},
        runs=(RunRule(match="a*", policy={"keep_best": 2}), RunRule(match="c", policy={"keep_last": None})),
        roots=(Root(path="/x", mode="enforce", policy={"max_bytes": 500 * 10**9}), Root(path="/y", mode="enforce")),
        limits=Limits(bytes_per_run=10**12),
        warn_before=3600.0,
    )
    assert whole(old, new) == [
        "warn_before: 6h -> 1h",
        "bytes_per_run: 200 GB -> 1 TB",
        "policy: keep_last=5 -> keep_last=3 keep_for=36h",
        "policy of a*: keep_best=1 -> keep_best=2",
        "policy of c: no rule -> keep_last=off",
        "watches /y (mode enforce)",
        "/x: mode observe -> enforce",
        "/x: policy no rule -> max_bytes=500GB",
    ]
    turned = old.evolve(runs=old.runs[::-1])
    assert whole(old, turned) == ["runs: the order is b, a*"]
