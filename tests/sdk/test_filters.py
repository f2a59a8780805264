"""The filter language of `ckpt ls`."""

from __future__ import annotations

import math

import pytest

from ckpt import filters
from ckpt.exceptions import UsageError
from ckpt.records import Checkpoint, Lineage, Run, Verdict


def row(**changes: object) -> filters.Fields:
    checkpoint = Checkpoint(
        id="aaaabbbbcccc",
        run="r",
        path="/runs/exp1/checkpoints/step-001200.pt",
        step=1200,
        epoch=3,
        loss=0.5,
        metrics={"val_loss": 0.19, "eval/acc": 0.8},
        bytes=2_500_000,
        saved_at=1000.0,
        tags=("best", "paper"),
    )
    return filters.checkpoint_fields(checkpoint.evolve(**changes), Verdict(action="keep"), now=1000.0 + 7200)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("val_loss<0.2 and step>1000", True),
        ("val_loss<0.2 and step>1200", False),
        ("val_loss<0.2 and step>=1200", True),
        ("val_loss>0.2 or step<=1200", True),
        ("step=1200", True),
        ("step==1200.0", True),
        ("step!=1200", False),
        ("loss<1", True),
        ("missing<1", False),
        ("missing!=1", False),
        ("not missing<1", True),
        ("has:val_loss", True),
        ("has:missing", False),
        ("not has:missing", True),
        ("has:pinned", False),
        ("has:note", False),
        ("eval/acc>0.7", True),
        ('"eval/acc">0.7', True),
        ("has:'eval/acc'", True),
        ("val_*<0.2", True),
        ("*acc>0.9", False),
        ("size>1MB and size<3MB", True),
        ("bytes<2.5MiB", True),
        ("age<3h", True),
        ("age<1h", False),
        ("age>90m", True),
        ("tag=paper", True),
        ("tag=PAP*", True),
        ("tag!=paper", False),
        ("tags=other", False),
        ("pinned=no", True),
        ("pinned=true", False),
        ("pinned!=true", True),
        ("state=complete", True),
        ("state=corrupt", False),
        ("state!=corrupt", True),
        ("verdict=keep", True),
        ("name=step-*", True),
        ("step-00*", True),
        ("step-001200.pt", True),
        ("exp*", False),
        ("best", True),
        ("  ( step>1 )  ", True),
        ("not (step>1 and loss<1)", False),
        ("not step>1 or loss<1", True),
        ("step>9999 or step>1 and loss<1", True),
        ("(step>9999 or step>1) and loss>1", False),
        ("not not step>1", True),
        ("NOT step>9999 AND loss<1", True),
        ("step>+1e3", True),
        ("loss>-.5", True),
    ],
)
def test_filters(text: str, fits: bool) -> None:
    assert filters.parse(text).matches(row()) is fits


def test_nan_is_neither_below_nor_above_and_is_found_by_name() -> None:
    lost = row(metrics={"val_loss": math.nan})
    assert not filters.parse("val_loss<1 or val_loss>=0 or val_loss=1").matches(lost)
    assert filters.parse("val_loss!=1").matches(lost)
    assert filters.parse("val_loss=nan").matches(lost)
    assert filters.parse("has:val_loss").matches(lost)
    assert filters.parse("val_loss<inf").matches(row())
    assert filters.parse("val_loss=-inf").matches(row(metrics={"val_loss": -math.inf}))


def test_words_of_the_language_can_be_names() -> None:
    fields: filters.Fields = {"and": 1.0, "not": 2.0}
    assert filters.parse("and=1 and not=2").matches(fields)


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("", 1, "empty"),
        ("   ", 1, "empty"),
        ("val_loss<", 10, "a value is expected after '<'"),
        ("val_loss< and step>1", 11, "a value is expected after '<'"),
        ("val_loss<high", 10, "needs a number"),
        ("size>2XB", 6, "needs a number"),
        ("(step>1", 1, "never closed"),
        ("step>1)", 7, "without its '('"),
        ("step>1 loss<2", 8, "'and' or 'or' is missing"),
        ("<1", 1, "a name"),
        ("step>1 and", 11, "a name"),
        ("and step>1", 1, "a name is expected here, not 'and'"),
        ("name='abc", 6, "quote that is never closed"),
        ("has:", 5, "after 'has:'"),
        ("step!1", 5, "unexpected '!'"),
        ("a<<1", 3, "a value is expected"),
    ],
)
def test_errors_point_at_the_place(text: str, column: int, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        filters.parse(text)
    assert f"at column {column}:" in caught.value.message
    assert part in caught.value.message
    assert caught.value.hint is not None
    assert caught.value.hint.splitlines()[1] == "  " + " " * (column - 1) + "^"


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    for text in ("(" * 5000 + "a=1" + ")" * 5000, "not " * 5000 + "a=1"):
        with pytest.raises(UsageError, match="levels"):
            filters.parse(text)


def test_names_that_no_row_has() -> None:
    wanted = filters.parse("val_los<1 and step>1 and *x>1 and has:loss")
    assert wanted.names == {"val_los", "step", "loss"}
    assert filters.unknown_names(wanted.names, [row()]) == ["val_los"]
    assert filters.unknown_names(wanted.names, []) == []


def test_a_metric_does_not_hide_a_field() -> None:
    assert row(metrics={"step": 5.0})["step"] == 1200


def test_runs_filter_by_status_and_config() -> None:
    run = Run(
        id="r1",
        name="exp1",
        root="/runs",
        path="/runs/exp1",
        own=True,
        status="training",
        config={"lr": 0.1, "optimizer": "adam", "layers": [1, 2]},
        parent=Lineage(run="r0"),
    )
    fields = filters.run_fields(run, now=0.0)
    for text in ("status=training", "lr>0.01", "optimizer=ADAM", "exp*", "has:parent", "own=yes", "/runs/*"):
        assert filters.parse(text).matches(fields), text
    assert "layers" not in fields


def test_order_puts_rows_without_a_finite_value_last_both_ways() -> None:
    values = [3.0, None, 1.0, math.nan, 2.0]
    rows: list[filters.Fields] = [{"x": value} for value in values]
    rising = [fields["x"] for fields in filters.ordered(rows, "x", lambda fields: fields)]
    falling = [fields["x"] for fields in filters.ordered(rows, "-x", lambda fields: fields)]
    assert rising[:3] == [1.0, 2.0, 3.0]
    assert falling[:3] == [3.0, 2.0, 1.0]
    for tail in (rising[3:], falling[3:]):
        assert tail[0] is None
        assert isinstance(tail[1], float) and math.isnan(tail[1])


def test_order_is_stable_and_takes_text() -> None:
    rows: list[filters.Fields] = [{"n": "b", "i": 0}, {"n": "A", "i": 1}, {"n": "b", "i": 2}, {"n": ("c",), "i": 3}]
    assert [fields["i"] for fields in filters.ordered(rows, "n", lambda fields: fields)] == [1, 0, 2, 3]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("saved_at>2026-07-01", True),
        ("saved_at<2026-07-01", False),
        ("saved_at>=2026-07-01T18:30:00+00:00", True),
        ("saved_at>1780000000", True),
        ("step>1k and step<1.3k", True),
        ("problem=*torn*", True),
        ("has:problem", True),
        ("framework=ck?t", True),
        ("tag=pap[aeiou]r", True),
        ("name='step-*.pt'", True),
        ('"step-00*"', True),
    ],
)
def test_dates_units_and_classes_of_characters(text: str, fits: bool) -> None:
    fields = row(saved_at=1_785_000_000.0, problems=("a torn tail",), framework="ckpt")
    assert filters.parse(text).matches(fields) is fits


def test_a_time_that_cannot_be_read_shows_how_one_looks() -> None:
    with pytest.raises(UsageError, match="a date such as 2026-07-01"):
        filters.parse("saved_at>yesterday")


def test_inner_values_of_a_config_have_dotted_names() -> None:
    config = {"optimizer": {"name": "adam", "lr": 0.1, "deep": {"er": {"still": {"more": 1}}}}, "name": "mine"}
    run = Run(id="r1", name="exp1", root="/runs", path="/runs/exp1", own=True, config=config)
    fields = filters.run_fields(run, now=0.0)
    assert filters.parse("optimizer.lr<0.2 and optimizer.name=ADAM and optimizer.*>0").matches(fields)
    assert fields["name"] == "exp1"
    assert not any("more" in name for name in fields)


def test_the_error_in_a_long_filter_shows_the_place_and_not_all_of_it() -> None:
    with pytest.raises(UsageError) as caught:
        filters.parse("loss<1 and " * 5000 + "step>high and " + "loss<1 and " * 5000 + "x")
    assert len(str(caught.value)) < 500
    shown, pointer = (caught.value.hint or "").splitlines()[:2]
    assert shown[pointer.index("^") :].startswith("high and")
    with pytest.raises(UsageError) as caught:
        filters.parse("step>" + "h" * 100_000)
    assert len(str(caught.value)) < 500


def test_a_filter_of_many_terms_is_no_burden() -> None:
    assert filters.parse(" or ".join(["loss<0"] * 5000 + ["step>1"])).matches(row())


def test_a_choice_filters_orders_and_counts_off() -> None:
    rows: list[filters.Fields] = [{"step": step, "names": (f"s{step}",)} for step in (3, 1, 2)]

    def steps(*choice: object) -> list[filters.Value]:
        return [fields["step"] for fields in filters.Choice(*choice).of(rows, lambda fields: fields).rows]  # type: ignore[arg-type]

    assert steps() == [3, 1, 2]
    assert steps("step>1") == [3, 2]
    assert steps(None, "-step", 2) == [3, 2]
    assert steps("not s3", "step") == [1, 2]
    assert steps(None, None, 1) == [3]
    assert filters.Choice().everything and not filters.Choice(limit=1).everything


def test_a_choice_tells_of_names_that_no_row_has() -> None:
    rows: list[filters.Fields] = [{"step": 1, "val_loss": 2.0, "names": ("x",)}]
    chosen = filters.Choice("val_los<1 and *x<1", "stp").of(rows, lambda fields: fields)
    assert {name: near[0] for name, near in chosen.unknown.items()} == {"val_los": "val_loss", "stp": "step"}
    assert filters.Choice("val_los<1").of([], lambda fields: fields).unknown == {}


@pytest.mark.parametrize(
    ("choice", "said"), [({"limit": 0}, "nothing"), ({"sort": "-"}, "field"), ({"text": ""}, "empty")]
)
def test_choices_that_cannot_be(choice: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        filters.Choice(**choice)  # type: ignore[arg-type]
