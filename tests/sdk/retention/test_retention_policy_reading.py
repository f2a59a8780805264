"""Policies as people write them: names, tables and `key=value` texts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st

from ckpt.exceptions import StateError
from ckpt.retention import Policy, given, parse
from ckpt.retention.fields import RULES, SETTINGS
from ckpt.retention.spelling import OTHER_NAMES
from ckpt.retention.writing import given_text


def test_only_what_is_given_is_given() -> None:
    assert given({}) == {}
    assert given({"keep_last": 3, "keep_for": "2d"}) == {"keep_last": 3, "keep_for": 172800.0}
    assert given({"monitor": "acc"}) == {"monitor": "acc"}, "the direction is nobody's word yet"
    assert given({"monitor": None, "mode": None, "unmonitored": False}) == {}
    assert given({"keep_last": None, "keep_best": False, "keep_every": "off", "keep_tagged": False}) == {
        "keep_last": None, "keep_best": None, "keep_every": None, "keep_tagged": False,
    }  # fmt: skip
    assert given({"monitor": "none"}) == given({"monitor": False}) == {"unmonitored": True}
    assert given({"keep_best_of": {"acc": 2, "f1": "off"}}) == {
        "keep_best_of": {"acc": {"keep": 2, "mode": "max"}, "f1": None}
    }


@pytest.mark.parametrize(
    "raw",
    [
        {"keep_last": 3, "keep_best": None, "keep_every": ["1h for 1d", "7d"], "max_bytes": "1TB", "monitor": "none"},
        {"keep_best_of": {"acc": 2, "f1": None}, "keep_steps": "5,3", "monitor": "a", "mode": "min", "max_share": "5%"},
        Policy(keep_last=2, keep_within=60, monitor="acc").to_json(),
    ],
)
def test_given_fields_are_taken_again_also_after_json(raw: dict[str, Any]) -> None:
    once = given(raw)
    assert given(once) == once
    assert given(json.loads(json.dumps(once))) == once


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names_mean_the_same_thing(name: str) -> None:
    field = OTHER_NAMES[name]
    value: Any = {"monitor": "acc", "mode": "max", "tag_best": False}.get(field, 7)
    assert field in (*RULES, *SETTINGS) and name not in (*RULES, *SETTINGS)
    assert given({name: value}) == given({field: value})
    assert Policy.from_json({name: value}) == Policy.from_json({field: value})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("keep_lats", "did you mean keep_last?"),
        ("keeplast", "did you mean keep_last?"),
        ("keep_besst", "did you mean keep_best?"),
        ("keep_every_n_epoch", "did you mean keep_every_n_epochs?"),
        ("max_byte", "did you mean max_bytes?"),
        ("save_topk", "did you mean save_top_k?"),
        ("greater_is_better", 'write mode = "max"'),
        ("metric_for_best_model", 'write monitor = "eval_loss"'),
        ("n_saved", "write keep_best = N when a score decides"),
        ("qqq", "known: keep_last, keep_best, "),
        ("", "known: keep_last"),
        ("\x1b[2J" * 100, "known: keep_last"),
    ],
)
def test_an_unknown_name_leads_to_a_known_one(name: str, told: str) -> None:
    with pytest.raises(StateError) as caught:
        given({name: 3})
    assert "is no field of a policy" in caught.value.message and told in (caught.value.hint or "")
    assert str(caught.value).replace("\n", "").isprintable()


def test_two_names_of_one_thing_have_to_agree() -> None:
    assert given({"keep_last": 3, "save_total_limit": 3, "max_to_keep": 3}) == {"keep_last": 3}
    with pytest.raises(StateError, match="save_total_limit and keep_last are two names of one thing and disagree"):
        given({"save_total_limit": 3, "keep_last": 4})
    with pytest.raises(StateError, match="keep_best and save_top_k are two names"):
        given({"keep_best": None, "save_top_k": 2})


@pytest.mark.parametrize(
    ("texts", "fields"),
    [
        ([], {}),
        (["keep_last=3", "keep_best=2"], {"keep_last": 3, "keep_best": 2}),
        (["keep_last=3 keep_best=2"], {"keep_last": 3, "keep_best": 2}),
        (["  keep_last=3   monitor=val_loss  mode=min "], {"keep_last": 3, "monitor": "val_loss", "mode": "min"}),
        (["keep_last=3", "keep_last=3"], {"keep_last": 3}),
        (["monitor=5"], {"monitor": "5"}),
        (["monitor=none"], {"unmonitored": True}),
        (["keep_last=off", "keep_every=none"], {"keep_last": None, "keep_every": None}),
        (["keep_within=36h max_age=3600 keep_for=0.5"], {"keep_within": 129600.0, "max_age": 3600.0, "keep_for": 0.5}),
        (["max_bytes=2e11", "metric_grace=1.5e3"], {"max_bytes": 200_000_000_000, "metric_grace": 1500.0}),
        (["max_bytes=1.5TiB"], {"max_bytes": 3 * 2**39}),
        (["keep_steps=1000,5000"], {"keep_steps": (1000, 5000)}),
        (["keep_steps=1000"], {"keep_steps": (1000,)}),
        (
            ["keep_last=2 keep_every=1h for 1d, 7d max_share=20%"],
            {
                "keep_last": 2,
                "keep_every": ({"every": 3600.0, "within": 86400.0}, {"every": 604800.0, "within": None}),
                "max_share": 0.2,
            },
        ),
        (
            ["keep_best_of.accuracy=2", "keep_best_of.eval/f1=3 min", 'keep_best_of.a.b="1 max"', "keep_best_of.x=off"],
            {
                "keep_best_of": {
                    "accuracy": {"keep": 2, "mode": "max"},
                    "eval/f1": {"keep": 3, "mode": "min"},
                    "a.b": {"keep": 1, "mode": "max"},
                    "x": None,
                }
            },
        ),
        (["keep_best_of=off"], {"keep_best_of": None}),
        (["keep_tagged=yes", "tag_best=no", "save_top_k=4"], {"keep_tagged": True, "tag_best": False, "keep_best": 4}),
    ],
)  # fmt: skip
def test_texts_are_read(texts: list[str], fields: dict[str, Any]) -> None:
    assert parse(texts) == fields


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["keep_last"], "'keep_last' is no rule: it has to be NAME=VALUE"),
        ([""], "'' is no rule"),
        (["keep_last="], "'keep_last=' is no rule"),
        (["=3"], "'=3' is no rule"),
        (["keep_last 3"], "'keep_last 3' is no rule"),
        (["keep_last=3 4"], "keep_last is '3 4', and has to be a whole number"),
        (["keep_last=3", "keep_last=4"], "keep_last is given twice, and the two disagree"),
        (["keep_last=3", "max_to_keep=4"], "keep_last and max_to_keep are two names of one thing"),
        (["keep_last=0"], "a policy with keep_last = 0 would keep nothing"),
        (["keep_last=-3"], "keep_last is -3, and has to be 1 or more"),
        (["keep_last=1e3"], "keep_last is 1000.0"),
        (["keep_last=2.0"], "keep_last is 2.0"),
        ([f"keep_last={'9' * 5000}"], "keep_last is '999"),
        (["keep_lats=3"], "did you mean keep_last?"),
        (["keep_best_of.=3"], "keep_best_of is '', and has to be the name of a metric"),
        (["keep_best_of.acc"], "'keep_best_of.acc' is no rule"),
        (["keep_best_of.acc=2 keep_best_of.acc=3"], "keep_best_of.acc is given twice"),
        (["keep_best_of=off", "keep_best_of.acc=3"], "keep_best_of is switched off and given in one"),
        (["keep_best_of.acc=3", "keep_best_of=off"], "keep_best_of is given twice"),
        (["monitor=none", "mode=down"], "mode is 'down'"),
        (["keep_for=off"], "keep_for is 'off', and has to be a number"),
    ],
)
def test_texts_that_cannot_be_meant_are_refused(texts: list[str], told: str) -> None:
    with pytest.raises(StateError) as caught:
        parse(texts)
    assert told in str(caught.value)


WRITABLE: dict[str, st.SearchStrategy[Any]] = {
    "keep_last": st.none() | st.integers(1, 10**9),
    "keep_every_n_steps": st.integers(1, 10**15),
    "keep_best_of": st.dictionaries(
        st.sampled_from(["acc", "eval/f1", "a.b"]), st.none() | st.integers(1, 9), min_size=1
    ),
    "keep_every": st.lists(st.floats(1, 1e9), min_size=1, max_size=3, unique_by=lambda every: round(every, 3)),
    "keep_within": st.floats(1, 1e9),
    "keep_steps": st.lists(st.integers(0, 10**15), min_size=1, max_size=3, unique=True),
    "keep_tagged": st.booleans(),
    "max_bytes": st.integers(1, 10**18),
    "monitor": st.sampled_from(["none", "val_loss"]),
    "mode": st.sampled_from(["min", "max"]),
    "metric_grace": st.floats(0, 1e9),
    "max_share": st.floats(0, 1),
    "tag_best": st.booleans(),
}


@settings(max_examples=300, deadline=None)
@cases(st.fixed_dictionaries({}, optional=WRITABLE))
def test_given_fields_can_be_typed_again_as_they_are_shown(raw: dict[str, Any]) -> None:
    fields = given(raw)
    assert parse([given_text(fields)] if fields else []) == fields
