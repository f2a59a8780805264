from __future__ import annotations

from pathlib import Path

import pytest

from ckpt.records import Checkpoint, Run
from ckpt.retention import Policy, plan
from ckpt.scan import RunView
from ckptd import events as events_module
from ckptd.events import REMEMBERED, Events, changes
from ckptd.journal import Journal


def view(*checkpoints: Checkpoint, **run: object) -> RunView:
    fields: dict[str, object] = {"id": "r", "name": "exp", "root": "/x", "path": "/x/exp", "own": True}
    return RunView(
        run=Run(**{**fields, **run}),  # type: ignore[arg-type]
        checkpoints=checkpoints,
        plan=plan(checkpoints, Policy(), 0.0),
    )


def saved(name: str, **fields: object) -> Checkpoint:
    return Checkpoint(id=f"id-{name}", run="r", path=f"/x/exp/{name}", **fields)  # type: ignore[arg-type]


def told(old: RunView | None, new: RunView, trashed: frozenset[str] = frozenset()) -> list[tuple[str, str | None]]:
    return [(change["kind"], change.get("checkpoint")) for change in changes(old, new, trashed)]


def test_a_new_run_is_told_with_what_is_being_written_only() -> None:
    assert told(None, view(saved("a"), saved("b", state="writing"))) == [
        ("run.added", None),
        ("checkpoint.writing", "id-b"),
    ]


def test_a_checkpoint_that_is_finished_and_one_that_is_gone() -> None:
    old = view(saved("a"), saved("b", state="writing"))
    assert told(old, view(saved("b"))) == [("checkpoint.complete", "id-b"), ("checkpoint.gone", "id-a")]


def test_a_checkpoint_in_the_trash_is_not_gone() -> None:
    assert told(view(saved("a")), view(), frozenset({"id-a"})) == [("checkpoint.trashed", "id-a")]


def test_content_that_changes_in_place_is_told() -> None:
    assert told(view(saved("a")), view(saved("a", state="corrupt"))) == [("checkpoint.corrupt", "id-a")]


def test_tags_that_move_and_a_status_that_changes() -> None:
    old = view(saved("a", tags=("best",)), saved("b"), status="training")
    new = view(saved("a"), saved("b", tags=("best",)), status="failed")
    assert told(old, new) == [("run.status", None), ("tag.moved", "id-b")]


def test_the_same_with_a_nan_in_it_is_no_change() -> None:
    one, other = (view(saved("a", metrics={"loss": float("nan")}), updated_at=at) for at in (1.0, 2.0))
    assert changes(one, other) == []


def test_resuming_gets_exactly_what_came_after() -> None:
    events = Events(Journal(None))
    for number in range(10):
        events.emit("state", "r", value=number)
    assert [event["value"] for event in events.since(7)] == [7, 8, 9]
    assert events.since(10) == []


def test_what_was_forgotten_is_admitted() -> None:
    events = Events(Journal(None))
    for _ in range(REMEMBERED + 5):
        events.emit("state", "r")
    resumed = events.since(2)
    assert resumed[0]["kind"] == "daemon.gap"
    assert len(resumed) == REMEMBERED + 1
    assert resumed[0]["seq"] == resumed[1]["seq"] - 1


@pytest.mark.parametrize("since", [10**9, 5])
def test_a_number_of_another_life_is_a_gap(since: int) -> None:
    journal = Journal(None)
    journal._seq = journal._limit = 1000
    events = Events(journal)
    events.emit("daemon.started")
    assert [event["kind"] for event in events.since(since)] == ["daemon.gap", "daemon.started"]


def test_listeners_are_woken_until_they_stop() -> None:
    events = Events(Journal(None))
    woken: list[int] = []
    stop = events.listen(lambda: woken.append(1))
    events.emit("state")
    stop()
    events.emit("state")
    assert woken == [1]


def test_as_many_as_asked_for_and_the_gap_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "REMEMBERED", 5)
    journal = Journal(tmp_path / "journal.jsonl")
    events = events_module.Events(journal)
    for _ in range(12):
        events.emit("mark")
    seen: list[int] = []
    since = 0
    while batch := events.since(since, limit=2):
        assert len(batch) <= 2
        seen += [event["seq"] for event in batch]
        since = seen[-1]
    assert seen == [7, 8, 9, 10, 11, 12]
    journal.close()
