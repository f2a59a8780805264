"""Policies of several places made one: the later before the earlier, with the origin of every field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st

from ckpt import scan
from ckpt.exceptions import StateError
from ckpt.retention import Merged, Policy, given, merge, parse


def test_nothing_said_is_no_policy() -> None:
    assert merge([]) == merge([("a", {}), ("b", {})]) == Merged()


def test_the_later_place_wins_field_by_field_and_the_origins_are_told() -> None:
    merged = merge(
        [
            ("config.toml", {"keep_last": 3, "keep_best": 2, "keep_for": "1h"}),
            ("command", {"save_total_limit": 9}),
            ("pattern", {"keep_for": "2h"}),
        ]
    )
    assert merged.policy == Policy(keep_last=9, keep_best=2, keep_for=7200)
    assert merged.origins == {"keep_last": "command", "keep_best": "config.toml", "keep_for": "pattern"}


@pytest.mark.parametrize("off", [None, False, "off", "none"])
def test_a_later_place_switches_a_rule_off(off: Any) -> None:
    merged = merge([("a", {"keep_last": 3, "keep_every": "1h", "keep_steps": [5]}), ("b", {"keep_last": off})])
    assert merged.policy == Policy.from_json({"keep_every": "1h", "keep_steps": [5]})
    assert merged.origins["keep_last"] == "b"
    again = merge([("a", {"keep_every": "1h"}), ("b", {"keep_every": off}), ("c", {"keep_every": "2h"})])
    assert again.policy == Policy.from_json({"keep_every": "2h"})


def test_a_later_monitor_brings_its_own_direction() -> None:
    run = ("run.json", {"monitor": "score", "mode": "min"})
    assert merge([run]).policy.mode == "min"
    merged = merge([run, ("command", {"monitor": "accuracy"})])
    assert (merged.policy.monitor, merged.policy.mode) == ("accuracy", "max")
    assert merged.origins == {"monitor": "command"}
    turned = merge([run, ("command", {"mode": "max"})])
    assert (turned.policy.monitor, turned.policy.mode) == ("score", "max")
    assert turned.origins == {"monitor": "run.json", "mode": "command"}


def test_a_whole_policy_without_monitor_turns_no_direction() -> None:
    whole = Policy(keep_last=2).to_json()
    assert whole["mode"] == "min" and whole["monitor"] is None
    merged = merge([("run.json", {"monitor": "accuracy", "mode": "max"}), ("command", whole)])
    assert (merged.policy.monitor, merged.policy.mode, merged.policy.keep_last) == ("accuracy", "max", 2)


def test_a_person_says_that_there_is_no_best_and_takes_it_back() -> None:
    trainer = ("trainer", {"monitor": "acc", "mode": "max"})
    without = merge([trainer, ("command", parse(["keep_last=1", "monitor=none"]))])
    assert without.policy == Policy(keep_last=1, unmonitored=True)
    assert without.origins == {"keep_last": "command", "unmonitored": "command"}
    back = merge([trainer, ("command", {"monitor": "none"}), ("pattern", {"monitor": "f1"})])
    assert (back.policy.unmonitored, back.policy.monitor) == (False, "f1")
    assert back.origins == {"monitor": "pattern"}


def test_further_monitors_are_merged_metric_by_metric() -> None:
    merged = merge(
        [
            ("a", {"keep_best_of": {"acc": {"keep": 2, "mode": "min"}, "f1": 1, "bleu": 5}}),
            ("b", {"keep_best_of": {"acc": 3, "f1": "off"}}),
        ]
    )
    assert merged.policy.keep_best_of == {"acc": {"keep": 3, "mode": "max"}, "bleu": {"keep": 5, "mode": "max"}}
    assert merged.origins == {
        "keep_best_of": "b",
        "keep_best_of.acc": "b",
        "keep_best_of.f1": "b",
        "keep_best_of.bleu": "a",
    }
    gone = merge([("a", {"keep_best_of": {"acc": 2}}), ("b", {"keep_best_of": False})])
    assert (gone.policy, gone.origins) == (Policy(), {"keep_best_of": "b"})


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([("config.toml", {"keep_lats": 3})], "config.toml: 'keep_lats' is no field of a policy\ndid you mean"),
        ([("a", {"keep_last": 3}), ("command", {"keep_last": -1})], "command: keep_last is -1"),
        ([("a", {"keep_last": 0}), ("b", {"keep_last": 3})], "a: a policy with keep_last = 0 would keep nothing"),
        ([("a", {"keep_best": 3}), ("command", {"monitor": False})], 'command: keep_best = 3 and monitor = "none"'),
        ([("a", [])], "a: a policy has to be an object"),
    ],
)
def test_a_layer_that_cannot_be_used_is_named(layers: Any, told: str) -> None:
    with pytest.raises(StateError) as caught:
        merge(layers)
    assert told in str(caught.value)


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "keep_last": st.none() | st.integers(1, 9),
    "keep_every_n_steps": st.none() | st.integers(1, 9),
    "keep_every": st.none() | st.sampled_from(["1h", "1h for 1d, 7d"]),
    "keep_best_of": st.none() | st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(1, 9)),
    "monitor": st.sampled_from(["none", "acc", "val_loss"]),
    "mode": st.sampled_from(["min", "max"]),
    "keep_for": st.floats(0, 1e6),
}
LAYERS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.fixed_dictionaries({}, optional=FIELDS).map(given)), max_size=4
)


@settings(max_examples=300, deadline=None)
@cases(LAYERS)
def test_layers_survive_json_and_every_origin_is_the_last_that_spoke(layers: list[tuple[str, dict[str, Any]]]) -> None:
    merged = merge(layers)
    assert merge([(origin, json.loads(json.dumps(fields))) for origin, fields in layers]) == merged
    assert merge([*layers, ("z", {})]) == merged
    for field in ("keep_last", "keep_every_n_steps", "keep_every", "keep_for"):
        spoke = [(origin, fields) for origin, fields in layers if field in fields]
        assert merged.origins.get(field) == (spoke[-1][0] if spoke else None)
        wanted = Policy.from_json({field: spoke[-1][1][field]} if spoke and spoke[-1][1][field] is not None else {})
        assert getattr(merged.policy, field) == getattr(wanted, field)
    said = [fields for _, fields in layers if "monitor" in fields or "unmonitored" in fields]
    assert merged.policy.monitor == (said[-1].get("monitor") if said else None)
    assert merged.policy.unmonitored == bool(said and said[-1].get("unmonitored"))


def test_a_run_without_a_best_shows_none_and_takes_one_back(runs: Any) -> None:
    directory = runs.run(checkpoints=3, policy={"keep_last": 1, "monitor": "none"})
    view = scan.read_run(directory)
    assert (view.run.best, view.run.monitor, view.origins["unmonitored"]) == (None, None, "run.json")
    assert not [c for c in view.checkpoints if "best" in c.tags] and len(view.plan.remove) == 2
    followed = merge([*view.wishes.layers, ("config.toml", {"monitor": "loss"})])
    again = scan.governed(view, followed, view.situation, 0.0)
    assert (again.run.monitor, again.run.best is not None) == ("loss", True)
    assert [c for c in again.checkpoints if "best" in c.tags]
