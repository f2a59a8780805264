"""What is to be seen: order, filter, marks; and how it is worded."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ckpt.records import Checkpoint, Reason, Run, Verdict
from ckpt_tui.dashboard import describing
from ckpt_tui.dashboard.acts import Act, address_of, checkpoint_name, command_line
from ckpt_tui.dashboard.board import Board
from ckpt_tui.dashboard.columns import checkpoint_columns, run_columns, shared_verdict, verdict_cell
from ckpt_tui.dashboard.feed import RunDetail, Standing
from ckpt_tui.dashboard.filtering import checkpoint_words, run_words
from ckpt_tui.wording import age_text, count_text, number_text, size_text


def run(name: str, **fields: Any) -> Run:
    given = {"monitor": "val", "updated_at": 1.0, **fields}
    return Run(id=name * 4, name=name, root="/r", path=f"/r/{name}", own=True, **given)


def checkpoint(step: int, **fields: Any) -> Checkpoint:
    given = {"seq": step, "saved_at": float(step), "bytes": 10, **fields}
    path = f"/r/a/checkpoints/step-{step}.pt"
    return Checkpoint(**{"id": f"c{step}", "run": "aaaa", "path": path, "step": step, **given})


def filled(*checkpoints: Checkpoint) -> Board:
    board = Board()
    one = run("a", best="c2")
    board.take_runs([one, run("b", updated_at=2.0)], [run_words(one), "b"])
    detail = RunDetail(run=one, checkpoints=checkpoints)
    board.take_run(detail, [checkpoint_words(c) for c in checkpoints])
    board.selected = one.id
    return board


THREE = (
    checkpoint(3, metrics={"val": math.nan}, note="odd"),
    checkpoint(2, metrics={"val": 0.1}, bytes=99, tags=("best",)),
    checkpoint(1, metrics={"val": 0.4}, tags=("paper",)),
)


def steps(board: Board) -> list[int | None]:
    return [c.step for c in board.shown_checkpoints()]


def test_runs_that_train_do_not_change_places() -> None:
    for first, second in ((5.0, 9.0), (9.0, 5.0)):
        board = Board()
        runs = [run("b", status="training", updated_at=first), run("a", status="training", updated_at=second)]
        board.take_runs([*runs, run("c", updated_at=20.0)], ["b", "a", "c"])
        assert [r.name for r in board.shown_runs()] == ["a", "b", "c"]


def test_orders_go_round_and_nan_is_never_best() -> None:
    board = filled(*THREE)
    seen = {}
    for _ in range(4):
        seen[board.views["checkpoints"].order] = steps(board)
        board.cycle_order("checkpoints")
    assert seen == {"newest": [3, 2, 1], "best": [2, 1, 3], "step": [1, 2, 3], "size": [2, 3, 1]}
    assert board.views["checkpoints"].order == "newest"
    assert [r.name for r in board.shown_runs()] == ["b", "a"]
    assert board.best_value(board.runs[0]) == 0.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [3, 2, 1]),
        ("PAPER", [1]),
        ("odd step", [3]),
        ("val<0.2", [2]),
        ("val<0.5 and not step=2", [1]),
        ("has:note", [3]),
        ("nothing like it", []),
    ],
)
def test_words_and_the_filter_language(text: str, expected: list[int]) -> None:
    board = filled(*THREE)
    assert board.set_query("checkpoints", text)
    assert steps(board) == expected


def test_a_half_typed_filter_keeps_the_rows_and_says_why() -> None:
    board = filled(*THREE)
    board.set_query("checkpoints", "val<0.2")
    assert not board.set_query("checkpoints", "val<")
    assert "value is expected" in board.views["checkpoints"].error
    assert steps(board) == [2]


def test_filtering_keeps_words_and_rows_together_in_any_order() -> None:
    board = filled(*THREE)
    board.set_order("checkpoints", "best")
    board.set_query("checkpoints", "paper")
    assert steps(board) == [1]
    assert not board.set_order("checkpoints", "colour")


def test_a_pair_is_two_marks_or_one_and_the_cursor() -> None:
    board = filled(*THREE)
    here = board.runs[0]
    assert len(board.pair(here, THREE[0])) == 0
    board.toggle_mark(here, THREE[1])
    assert [c.step for _, c in board.pair(here, THREE[0])] == [2, 3]
    assert len(board.pair(here, THREE[1])) == 1
    board.toggle_mark(here, THREE[2])
    assert [c.step for _, c in board.pair(here, THREE[0])] == [2, 1]
    board.take_run(RunDetail(run=here, checkpoints=THREE[:2]), ["", ""])
    assert list(board.marked) == ["c2"]


def test_runs_that_are_gone_are_forgotten() -> None:
    board = filled(*THREE)
    board.take_runs([run("b")], ["b"])
    assert board.detail is None
    assert board.stale(board.runs) == ["bbbb"]


def test_runs_of_one_name_are_told_apart_as_in_other_lists() -> None:
    board = Board()
    same = [run("a").evolve(id=f"id{n}", name="version_0", path=f"/r/exp{n}/version_0") for n in (2, 1)]
    board.take_runs(same, ["", ""])
    name = next(column for column in run_columns(board.best_value, board.name, lambda _: False) if column.key == "name")
    assert [name.cell(one)[0] for one in same] == ["exp2/version_0", "exp1/version_0"]
    while board.views["runs"].order != "name":
        board.cycle_order("runs")
    assert [one.id for one in board.shown_runs()] == ["id1", "id2"]


def test_addresses_are_short_where_they_are_unique() -> None:
    twice = checkpoint(2, seq=9).evolve(id="again")
    assert address_of("exp", THREE[1], THREE) == "exp@step:2"
    assert address_of("exp", twice, (*THREE, twice)) == "exp@again"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"kind": "tag", "address": "a@step:2", "text": "paper"}, "ckpt tag add a@step:2 paper"),
        ({"kind": "untag", "address": "a@step:2", "text": "paper"}, "ckpt tag rm a@step:2 paper"),
        ({"kind": "note", "address": "a@best", "text": "it's good"}, """ckpt note a@best 'it'"'"'s good'"""),
        ({"kind": "fork", "address": "a@best", "text": "b", "at": "/x"}, "ckpt fork a@best b --at /x"),
        ({"kind": "restore", "address": "a@best", "text": "out.pt"}, "ckpt restore a@best out.pt"),
        ({"kind": "trash restore", "entries": ("e1", "e2")}, "ckpt trash restore e1 e2"),
        ({"kind": "unpin", "address": "a\x1b[2J@best"}, "ckpt unpin 'a\\x1b[2J@best'"),
        ({"kind": "undo"}, "ckpt undo"),
    ],
)
def test_every_act_is_a_command(fields: dict[str, Any], line: str) -> None:
    assert command_line(Act(**fields)) == line


def test_cells_show_what_is_not_finite_and_never_control_characters() -> None:
    detail = RunDetail(run=run("a"), checkpoints=THREE)
    cells = {c.key: c.cell(THREE[0]) for c in checkpoint_columns(detail)}
    assert cells["best"] == ("NaN", "bad")
    evil = run("x").evolve(name="[red]\x1b[2J")
    shown = {c.key: c.cell(evil) for c in run_columns(lambda _: -math.inf, lambda run: run.name, lambda _: False)}
    assert shown["name"] == ("[red]\\x1b[2J", "strong")
    assert shown["best"] == ("-inf", "bad")


FOREIGN = Verdict(action="skip", reasons=(Reason(rule="foreign", text="not ours"),))


def test_checkpoints_of_another_tool_show_their_names_and_a_shared_verdict_once() -> None:
    found = tuple(checkpoint(480, id=name).evolve(path=f"/r/a/{name}") for name in ("last.pt", "epoch_59.pt"))
    detail = RunDetail(run=run("a").evolve(own=False), checkpoints=found, verdicts={c.id: FOREIGN for c in found})
    shown = {c.key: c for c in checkpoint_columns(detail)}
    assert [key for key in shown if key != "flags"][:2] == ["name", "step"] and "verdict" not in shown
    assert [shown["name"].cell(c)[0] for c in found] == ["last.pt", "epoch_59.pt"]
    assert [shown["step"].cell(c)[0] for c in found] == ["480", "480"]
    assert shared_verdict(detail) == "skip: not ours" and "loss" not in shown
    assert [checkpoint_name(detail.run, c) for c in found] == ["a last.pt", "a epoch_59.pt"]
    assert checkpoint_name(run("a"), found[0]) == "a step 480"
    kept = Verdict(action="keep")
    mixed = detail.evolve(verdicts={**detail.verdicts, "last.pt": kept})
    assert "verdict" in {c.key for c in checkpoint_columns(mixed)} and shared_verdict(mixed) is None


def test_own_checkpoints_show_names_only_where_steps_do_not_tell_them_apart() -> None:
    def keys(*checkpoints: Checkpoint) -> set[str]:
        return {c.key for c in checkpoint_columns(RunDetail(run=run("a"), checkpoints=checkpoints))}

    assert "name" not in keys(*THREE)
    assert "name" in keys(*THREE, checkpoint(3, id="again"))
    assert "name" in keys(THREE[0], THREE[1].evolve(step=None)) and "step" not in keys(THREE[0].evolve(step=None))


def test_verdicts_say_state_first_and_mark_what_goes() -> None:
    reason = Reason(rule="last", text="last #1 of 3")
    assert verdict_cell(THREE[0].evolve(state="writing"), None)[0] == "◌ writing"
    assert verdict_cell(THREE[0], Verdict(action="remove", near_misses=(reason,))) == ("✗ remove", "warn")
    assert verdict_cell(THREE[0], Verdict(action="keep", reasons=(reason,))) == ("last #1 of 3", "dim")
    lines = describing.checkpoint_lines(THREE[0], Verdict(action="remove", near_misses=(reason,)))
    text = "\n".join("".join(piece for piece, _ in line) for line in lines)
    assert "remove" in text and "last #1 of 3" in text and "NaN" in text and "odd" in text


def test_what_is_skipped_says_why_in_a_narrow_column() -> None:
    why = Reason(rule="settling", text="settling: written 12 s ago (needs 60 s)")
    assert verdict_cell(THREE[0], Verdict(action="skip", reasons=(why,))) == ("skip: settling", "dim")
    other = Reason(rule="own", text="said otherwise")
    assert verdict_cell(THREE[0], Verdict(action="skip", reasons=(other,))) == ("skip: said otherwise", "dim")


def test_a_run_says_who_acts_on_it_what_holds_and_what_waits_for_a_word() -> None:
    policy = {
        "keep_last": 3,
        "keep_best": 2,
        "monitor": "val",
        "unmonitored": False,
        "keep_best_of": {},
        "keep_every": [],
    }
    foreign = run("a b", framework="lightning").evolve(own=False, root="/x")
    detail = RunDetail(run=foreign, checkpoints=THREE, policy=policy)

    def told(standing: Standing) -> str:
        return "\n".join("".join(p for p, _ in line) for line in describing.run_lines(detail, standing, "a b"))

    watched = told(Standing())
    assert "lightning, only watched" in watched and "asks" not in watched
    assert "keeps last 3, best 2 by val" in watched and "unmonitored" not in watched and "{}" not in watched
    enforced = told(Standing(asks={detail.run.id: "would remove 9 of 10"}, enforced=frozenset({"/x"})))
    assert "lightning, enforced" in enforced
    assert "asks: would remove 9 of 10" in enforced and "ckpt prune 'a b'" in enforced
    name = next(c for c in run_columns(lambda _: None, lambda r: r.name, lambda _: True) if c.key == "name")
    assert name.cell(detail.run) == ("? a b", "warn")


def test_a_plan_says_in_the_words_of_the_commands_what_it_does() -> None:
    told = [{"rule": "last", "text": "last #1 of 1"}]
    entry = {"id": "c", "path": "/x/1.pt", "bytes": 10, "reasons": told, "near_misses": told}
    plan = {"policy": {"keep_last": 1, "metric_grace": 3600.0}, "ask": "it is the first", "remove": [entry]}
    lines = describing.plan_lines({"id": "p", "runs": [{**plan, "keep": [entry], "skip": [entry]}]}, "a")
    text = "\n".join("".join(piece for piece, _ in line) for line in lines)
    assert "policy  keeps last 1\n" in text and "metric_grace" not in text
    assert "asks first: it is the first" in text and "$ ckpt prune a" in text
    assert [text.index(word) for word in ("REMOVE", "KEEP", "SKIP")] == sorted(
        text.index(w) for w in ("REMOVE", "KEEP", "SKIP")
    )


def test_a_difference_is_told_by_parts() -> None:
    raw = {
        "same": False,
        "metrics": [{"key": "val", "a": 0.5, "b": 0.25}],
        "config": [{"key": "lr", "a": None, "b": 0.1}],
        "metadata": [],
        "tensors": {
            "added": ["new"],
            "removed": [],
            "changed": [{"name": "w", "kind": "shape", "a": "float32 [2]", "b": "float32 [3]"}],
            "identical": 4,
        },
    }
    text = "\n".join("".join(p for p, _ in line) for line in describing.difference_lines(raw, "A", "B"))
    for part in ("val", "-0.25", "none", "1 added", "4 identical", "float32 [2] → float32 [3]"):
        assert part in text
    same = describing.difference_lines({"same": True}, "A", "B")
    assert same[-1] == [("They are the same.", "good")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "NaN"),
        (math.inf, "inf"),
        (0.0, "0"),
        (0.25, "0.2500"),
        (1e-9, "1.00e-09"),
        (1234.5, "1234.5"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number_text(value) == text


def test_sizes_ages_and_counts() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 1_204_224, 34_000_000_000)] == [
        "0 B",
        "999 B",
        "1.0 KB",
        "1.2 MB",
        "34 GB",
    ]
    assert [age_text(100, 100 + s) for s in (0, 5, 300, 7200, 864000)] == ["now", "5s", "5m", "2h", "10d"]
    assert age_text(0) == "–"
    assert [count_text(v) for v in (None, 3.0, 3.5, math.nan)] == ["–", "3", "3.50", "NaN"]
