"""Policy: what every field takes, what it refuses and how it says so, and what it means."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt.exceptions import StateError
from ckpt.retention import Monitor, Policy, describe
from ckpt.retention.fields import RULES, SETTINGS
from ckpt.retention.spelling import OTHER_NAMES

HOUR, DAY = 3600.0, 86400.0


@pytest.mark.parametrize(
    ("field", "value", "held"),
    [
        ("keep_last", 1, 1),
        ("keep_best", 10**9, 10**9),
        ("keep_every_n_steps", 10**15, 10**15),
        ("keep_within", "36h", 36 * HOUR),
        ("keep_within", "90m", 5400.0),
        ("keep_within", "90 min", 5400.0),
        ("keep_within", " 1h 30m ", 5400.0),
        ("keep_within", "1.5d", 1.5 * DAY),
        ("keep_within", "2w", 14 * DAY),
        ("keep_within", "45 S", 45.0),
        ("keep_within", 90.12345, 90.123),
        ("max_age", 7200, 7200.0),
        ("max_age", "1000d", 1000 * DAY),
        ("max_bytes", 200, 200),
        ("max_bytes", 2e11, 200_000_000_000),
        ("max_bytes", "200GB", 200_000_000_000),
        ("max_bytes", "200 g", 200_000_000_000),
        ("max_bytes", "1.5TiB", 3 * 2**39),
        ("max_bytes", "512 MiB", 2**29),
        ("max_bytes", "4096", 4096),
        ("keep_steps", [5000, 1000, 0], (0, 1000, 5000)),
        ("keep_steps", "5000, 1000", (1000, 5000)),
        ("keep_steps", 7, (7,)),
        ("keep_steps", 0, (0,)),
        ("keep_every", "1h", ({"every": HOUR, "within": None},)),
        ("keep_every", 3600, ({"every": HOUR, "within": None},)),
        (
            "keep_every",
            ["7d", "1h for 1d", {"every": "1d", "within": "30d"}],
            (
                {"every": HOUR, "within": DAY},
                {"every": DAY, "within": 30 * DAY},
                {"every": 7 * DAY, "within": None},
            ),
        ),
        ("keep_every", "1h for 1d, 1d", ({"every": HOUR, "within": DAY}, {"every": DAY, "within": None})),
        ("keep_best_of", {"accuracy": 2}, {"accuracy": {"keep": 2, "mode": "max"}}),
        ("keep_best_of", {"val_loss": {"keep": 2}}, {"val_loss": {"keep": 2, "mode": "min"}}),
        ("keep_best_of", {"val_loss": {"keep": 2, "mode": "max"}}, {"val_loss": {"keep": 2, "mode": "max"}}),
        ("keep_best_of", {"a": "2", "c": False}, {"a": {"keep": 2, "mode": "max"}}),
        ("keep_best_of", {"b": "3 min"}, {"b": {"keep": 3, "mode": "min"}}),
        ("keep_tagged", True, True),
        ("keep_tagged", "yes", True),
        ("missing_metric", "ignore", "ignore"),
        ("metric_grace", 0, 0.0),
        ("min_age", "10m", 600.0),
        ("max_share", "50%", 0.5),
        ("max_share", 1, 1.0),
        ("include_unknown", "off", False),
        ("keep_for", 0, 0.0),
        ("keep_for", "3d", 3 * DAY),
    ],
)  # fmt: skip
def test_a_field_takes_what_people_write_and_holds_numbers(field: str, value: Any, held: Any) -> None:
    assert getattr(Policy.from_json({field: value}), field) == held
    assert getattr(Policy(**{field: value}), field) == held


@pytest.mark.parametrize("off", [None, False, "off", "none", "OFF ", "no", "false"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_can_be_switched_off(rule: str, off: Any) -> None:
    assert Policy.from_json({rule: off}) == Policy(**{rule: off}) == Policy()


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"keep_last": 10**9 + 1}, "keep_last is 1000000001, and has to be 1,000,000,000 at most"),
        ({"keep_last": 10**5000}, "at most"),
        ({"keep_best": math.inf}, "keep_best is inf, and has to be a whole number"),
        ({"keep_best": -1}, "to keep every checkpoint, give no rule at all"),
        ({"save_top_k": -1}, "to keep every checkpoint, give no rule at all: leave save_top_k out"),
        ({"save_top_k": 0}, "the best is always kept; leave save_top_k out"),
        ({"save_top_k": 0, "keep_last": 2}, "save_top_k is 0, and has to be 1 or more\nthe best is always kept"),
        ({"keep_within": 0}, "a policy with keep_within = 0 would keep nothing"),
        ({"keep_last": 0, "max_bytes": 0}, "a policy with keep_last = 0 and max_bytes = 0 would keep nothing"),
        ({"keep_within": 0, "keep_last": 2}, "keep_within is 0, and has to be 1 second or more"),
        ({"keep_within": -5}, "keep_within is -5, and has to be 1 second or more"),
        ({"keep_within": "-5h"}, "keep_within is '-5h', and has to be a time"),
        ({"keep_within": math.nan}, "keep_within is nan, and has to be a time"),
        ({"keep_within": math.inf}, "has to be 1000 years at most"),
        ({"keep_within": 10**400}, "has to be 1000 years at most"),
        ({"keep_within": "400000d"}, "has to be 1000 years at most"),
        ({"keep_within": True}, "keep_within is True, and has to be a time"),
        ({"keep_within": "3600"}, "write it with s, m (minutes), h, d or w"),
        ({"keep_within": "1 month"}, "months and years differ in length, so write days"),
        ({"keep_within": "2y"}, "months and years differ in length, so write days"),
        ({"keep_within": ""}, "keep_within is '', and has to be a time"),
        ({"keep_within": "1h and 2"}, "has to be a time"),
        ({"keep_within": [1]}, "keep_within is [1], and has to be a time"),
        ({"max_age": "soon"}, "max_age is 'soon', and has to be a time"),
        ({"max_bytes": 1.5}, "max_bytes is 1.5, and has to be a size"),
        ({"max_bytes": True}, "max_bytes is True, and has to be a size"),
        ({"max_bytes": "200GBs"}, "max_bytes is '200GBs', and has to be a size"),
        ({"max_bytes": "2000000000PB"}, "has to be from 1 byte to 1000 PB"),
        ({"max_bytes": -1}, "has to be from 1 byte"),
        ({"max_bytes": math.nan}, "max_bytes is nan"),
        ({"max_bytes": math.inf}, "max_bytes is inf"),
        ({"keep_steps": [1000, 1000]}, "keep_steps names step 1000 twice"),
        ({"keep_steps": "1000;2000"}, "keep_steps is '1000;2000', and has to be a whole number of 0 or more"),
        ({"keep_steps": [-1]}, "keep_steps is -1, and has to be 0 or more"),
        ({"keep_steps": [1.0]}, "keep_steps is 1.0"),
        ({"keep_steps": {"a": 1}}, "keep_steps is {'a': 1}"),
        ({"keep_steps": list(range(100_001))}, "keep_steps lists 100001 steps"),
        ({"keep_every": 0}, "would keep nothing"),
        ({"keep_every": list(range(1, 102))}, "keep_every names 101 stretches, and may name 100"),
        ({"keep_best_of": {f"m{n}": 1 for n in range(101)}}, "keep_best_of names 101 metrics, and may name 100"),
        ({"keep_every": ["1h", "60m for 1d"]}, "keep_every names every 1 hour twice"),
        ({"keep_every": "1d for 1h"}, 'the shorter time comes first: "1h for 1d"'),
        ({"keep_every": "1h for"}, "keep_every is '1h for', and has to be a time"),
        ({"keep_every": {"evry": 1}}, "did you mean every?"),
        ({"keep_every": {"within": "1d"}}, "keep_every is None, and has to be a time"),
        ({"keep_best_of": "accuracy"}, "keep_best_of is 'accuracy', and has to name metrics"),
        ({"keep_best_of": {"": 2}}, "keep_best_of is '', and has to be the name of a metric"),
        ({"keep_best_of": {"acc": 0}}, "keep_best_of.acc is 0, and has to be 1 or more"),
        ({"keep_best_of": {"acc": {"keep": 2, "mode": "up"}}}, "keep_best_of.acc mode is 'up', and has to be 'min' or"),
        ({"keep_best_of": {"acc": {"kep": 2}}}, "did you mean keep?"),
        ({"keep_best_of": {"acc": {}}}, "keep_best_of.acc is None, and has to be a whole number"),
        ({"keep_best_of": {"acc": "2 up"}}, "keep_best_of.acc mode is 'up'"),
        ({"monitor": "  "}, "monitor is '  ', and has to be the name of a metric"),
        ({"monitor": "x" * 2000}, "has to be the name of a metric"),
        ({"mode": None, "keep_last": "three"}, "keep_last is 'three'"),
        ({"mode": True}, "mode is True, and has to be 'min' or 'max'"),
        ({"missing_metric": "drop"}, "missing_metric is 'drop', and has to be 'keep' or 'ignore'"),
        ({"missing_metric": None}, "missing_metric is None"),
        ({"keep_tagged": 1}, "keep_tagged is 1, and has to be true or false"),
        ({"max_share": 1.01}, "max_share is 1.01, and has to be a share from 0 to 1"),
        ({"max_share": "500%"}, "max_share is '500%'"),
        ({"max_share": math.nan}, "max_share is nan"),
        ({"max_share": True}, "max_share is True"),
        ({"keep_for": None}, "keep_for is None, and has to be a number: it cannot be switched off"),
        ({"metric_grace": "off"}, "metric_grace is 'off', and has to be a number"),
        ({"min_age": -1}, "min_age is -1, and has to be 0 seconds or more"),
        ({"monitor": "none", "keep_best": 2}, 'keep_best = 2 and monitor = "none"'),
        ({"monitor": "acc", "unmonitored": True}, "monitor is 'acc' and switched off in one"),
        ({"keep_last": "\x1b[31m" * 40}, "keep_last is '\\x1b[31m"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_and_says_what_would_work(raw: dict[str, Any], told: str) -> None:
    with pytest.raises(StateError) as caught:
        Policy.from_json(raw)
    assert told in str(caught.value)
    assert len(caught.value.message) < 200 and caught.value.message.isprintable()


def test_nothing_but_a_table_is_a_policy() -> None:
    anything: tuple[Any, ...] = ([], None, 3, "keep_last=3")
    for raw in anything:
        with pytest.raises(StateError, match="a policy has to be an object"):
            Policy.from_json(raw)


def test_no_monitor_and_nobody_said_are_two_things() -> None:
    silent, without = Policy(keep_last=1), Policy(keep_last=1, monitor="none")
    assert (silent.unmonitored, silent.monitors) == (False, (Monitor("loss", "min", None),))
    assert (without.unmonitored, without.monitor, without.monitors) == (True, None, ())
    assert Policy.from_json({"keep_last": 1, "monitor": False}) == without == Policy.from_json(without.to_json())


def test_monitors_are_the_main_one_and_the_further_ones() -> None:
    further: Any = {"val_loss": 1, "f1": {"keep": 2, "mode": "min"}}
    policy = Policy(monitor="acc", keep_best=3, keep_best_of=further)
    assert policy.monitors == (Monitor("acc", "max", 3), Monitor("val_loss", "min", 1), Monitor("f1", "min", 2))
    assert policy.rules == ("keep_best", "keep_best_of")


EXAMPLES: dict[str, Any] = {
    "keep_last": 3,
    "keep_best": 2,
    "keep_every_n_epochs": 10,
    "keep_every_n_steps": 500,
    "keep_best_of": {"accuracy": 2},
    "keep_every": "1h for 1d",
    "keep_within": "36h",
    "keep_steps": [1000, 5000],
    "keep_tagged": True,
    "max_age": "30d",
    "max_bytes": "200GB",
}


def test_every_rule_is_a_rule_and_is_described() -> None:
    assert set(EXAMPLES) == set(RULES)
    without = describe(Policy())
    assert without == ["No rule is given: everything is kept."] and not Policy().has_rules
    for rule, value in EXAMPLES.items():
        policy = Policy(**{rule: value})
        assert policy.has_rules and policy.rules == (rule,)
        assert describe(policy)[0].startswith("Keeps ")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"keep_last": 1}, "Keeps the newest."),
        ({"keep_best": 3, "monitor": "val_loss"}, "Keeps the 3 best by val_loss (lower is better)."),
        ({"keep_every_n_epochs": 1}, "Keeps one checkpoint of every epoch."),
        (
            {"keep_every_n_steps": 500},
            "Keeps one checkpoint every 500 steps: the exact multiple, else the closest to it.",
        ),
        ({"keep_every": ["1h for 1d"]}, "Keeps the newest of every hour, as far back as 1 day before the newest."),
        ({"keep_every": "7d"}, "Keeps the newest of every 7 days."),
        ({"keep_within": 5400}, "Keeps what was saved within 90 minutes before the newest."),
        ({"keep_steps": [1000, 5000]}, "Keeps steps 1000, 5000."),
        ({"keep_steps": list(range(30))}, f"Keeps steps {', '.join(map(str, range(20)))} and 10 more."),
        ({"max_age": "1.5s"}, "Keeps what is younger than 1.5 seconds now."),
        (
            {"max_bytes": "200GB"},
            "Keeps the rest too while the run has room in 200 GB: "
            "from 170 GB on the oldest of it go, until 160 GB are left.",
        ),
        ({"keep_best": 2, "missing_metric": "ignore"}, "A checkpoint without its metric is not waited for."),
        ({"keep_best": 2, "metric_grace": 0}, "A checkpoint without its metric is not waited for."),
        ({"keep_best_of": {"f1": 2}}, "A checkpoint without its metric stays for 1 hour to get it."),
        ({"keep_last": 2, "max_share": "80%"}, "Up to 80 % of a run may go unasked where a person has to be asked."),
        ({"keep_last": 2, "keep_for": 0}, "What is removed is purged from the trash as soon as possible."),
    ],
)  # fmt: skip
def test_a_policy_is_told_in_plain_sentences(raw: dict[str, Any], sentence: str) -> None:
    assert sentence in describe(Policy.from_json(raw))


def test_what_no_rule_needs_is_not_told() -> None:
    assert describe(Policy(keep_last=5)) == [
        "Keeps the 5 newest.",
        "Whatever the rules: the newest, the best by loss (lower is better), and what is pinned, tagged or in use "
        "stay.",
        "What is removed waits in the trash for 1 day.",
    ]
    told = describe(Policy(keep_last=5, monitor="none"))
    assert told[1].endswith("No metric says what is best here.") and "best by" not in told[1]


def test_a_metric_of_odd_name_is_shown_escaped() -> None:
    assert all(line.isprintable() for line in describe(Policy(keep_best=1, monitor="a\x1b[2Jb")))


def test_the_policy_of_an_earlier_run_json_is_read() -> None:
    earlier = {
        "keep_last": 5, "keep_best": None, "monitor": "val_loss", "mode": "min", "keep_every_n_epochs": 10,
        "keep_every_n_steps": None, "tag_best": True, "keep_for_s": 3600.0,
    }  # fmt: skip
    assert Policy.from_json(earlier) == Policy(
        keep_last=5, monitor="val_loss", mode="min", keep_every_n_epochs=10, keep_for=HOUR
    )


def can_be_a_metric(name: str) -> bool:
    return bool(name.strip()) and name.strip().lower() not in ("off", "none", "no", "false")


METRICS = st.text(min_size=1, max_size=8).filter(can_be_a_metric)
COUNTS = st.none() | st.integers(1, 10**9)
TIMES = st.floats(1, 1e9) | st.integers(1, 10**9)
MODES = st.sampled_from(["min", "max"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "keep_last": COUNTS,
    "keep_best": COUNTS,
    "keep_every_n_epochs": COUNTS,
    "keep_every_n_steps": COUNTS,
    "keep_best_of": st.dictionaries(
        METRICS, st.integers(1, 9) | st.fixed_dictionaries({"keep": st.integers(1, 9), "mode": MODES}), max_size=3
    ),
    "keep_every": st.lists(
        st.tuples(TIMES, st.none() | TIMES).map(
            lambda pair: {"every": pair[0], "within": None if pair[1] is None else pair[0] + pair[1]}
        ),
        max_size=3,
        unique_by=lambda stretch: round(float(stretch["every"] or 0), 3),
    ),
    "keep_within": st.none() | TIMES,
    "keep_steps": st.lists(st.integers(0, 10**15), max_size=4, unique=True),
    "keep_tagged": st.booleans(),
    "max_age": st.none() | TIMES,
    "max_bytes": st.none() | st.integers(1, 10**18),
    "monitor": st.none() | METRICS,
    "mode": MODES,
    "missing_metric": st.sampled_from(["keep", "ignore"]),
    "metric_grace": st.floats(0, 1e9),
    "min_age": st.floats(0, 1e9),
    "max_share": st.floats(0, 1),
    "include_unknown": st.booleans(),
    "tag_best": st.booleans(),
    "keep_for": st.floats(0, 1e9),
}
POLICIES = st.fixed_dictionaries({}, optional=VALUES).map(lambda fields: Policy(**fields))


def test_the_strategies_know_every_field() -> None:
    assert {*VALUES, "unmonitored"} == {*RULES, *SETTINGS} == set(Policy.__struct_fields__)


def test_a_policy_asks_for_what_does_not_hold_by_itself() -> None:
    assert Policy().asked == Policy(mode="max").asked == {}
    assert Policy(keep_last=2, keep_every="1h", monitor="acc", keep_for=86400).asked == {  # type: ignore[arg-type]
        "keep_last": 2,
        "keep_every": [{"every": HOUR, "within": None}],
        "monitor": "acc",
        "mode": "max",
    }
    assert Policy(monitor="none").asked == {"unmonitored": True}


@settings(max_examples=300, deadline=None)
@given(POLICIES)
def test_what_a_policy_asks_for_is_the_policy(policy: Policy) -> None:
    again = Policy.from_json(json.loads(json.dumps(policy.asked)))
    assert again == (policy if policy.monitor is not None else policy.evolve(mode="min"))


@settings(max_examples=300, deadline=None)
@given(POLICIES)
def test_any_policy_survives_its_json_and_a_change(policy: Policy) -> None:
    assert Policy.from_json(json.loads(json.dumps(policy.to_json()))) == policy
    assert policy.evolve() == policy
    assert policy.has_rules == (describe(policy)[0] != "No rule is given: everything is kept.")


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*RULES, *SETTINGS, "save_top_k", "keep_for_s"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
            | st.from_regex(r"\A[0-9.]{0,5} ?[a-zA-Z]{0,4}( for [0-9]{0,3}[a-z]?)?\Z"),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)  # fmt: skip
def test_whatever_is_given_is_a_policy_that_survives_or_a_state_error(raw: dict[str, Any]) -> None:
    try:
        policy = Policy.from_json(raw)
    except StateError:
        return
    assert Policy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


def test_the_guide_tells_every_field_and_every_other_name() -> None:
    guide = (Path(__file__).resolve().parents[3] / "docs" / "retention.md").read_text(encoding="utf-8")
    for name in (*RULES, *SETTINGS, *OTHER_NAMES):
        assert name == "unmonitored" or f"`{name}`" in guide or f"`{name} = " in guide, name
