from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ckpt import marks
from ckpt.exceptions import AddressError, UsageError
from ckpt.paths import RunPaths


@pytest.fixture
def two(world: Any, runs: Any) -> Path:
    directory: Path = runs.run("exp1", checkpoints=3)
    runs.run("exp2", checkpoints=1)
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    return directory


def test_runs_and_one_run(world: Any, two: Path) -> None:
    listed = world.get("/v1/runs")["runs"]
    assert sorted(run["name"] for run in listed) == ["exp1", "exp2"]
    answer = world.get("/v1/run?run=exp1")
    assert [c["step"] for c in answer["checkpoints"]] == [30, 20, 10]
    assert answer["policy"]["keep_last"] is None
    assert answer["checkpoints"][0]["verdict"]["action"] == "keep"


@pytest.mark.parametrize("selector", ["latest", "best", "step:30", "epoch:3", "~0"])
def test_addresses_lead_to_checkpoints(world: Any, two: Path, selector: str) -> None:
    assert world.get(f"/v1/resolve?ref={quote(f'exp1@{selector}')}")["checkpoint"]["step"] == 30


def test_ids_and_paths_are_addresses_too(world: Any, two: Path) -> None:
    wanted = world.get("/v1/resolve?ref=exp1@step:20")["checkpoint"]
    for ref in (wanted["id"], wanted["id"][:8], wanted["path"], wanted["path"][:-3] + ".json"):
        assert world.get(f"/v1/resolve?ref={quote(ref)}")["checkpoint"]["id"] == wanted["id"]
    assert world.get(f"/v1/run?run={quote(str(two))}")["run"]["name"] == "exp1"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("/v1/run?run=exp3", "did you mean exp"),
        ("/v1/resolve?ref=exp1@step:31", "nearest"),
        ("/v1/run", "missing"),
        ("/v1/curves?run=exp1&points=many", "whole number"),
        ("/v2/runs", "no page"),
        ("/v1/marks", "answers to POST"),
    ],
)
def test_wrong_questions_say_what_would_work(world: Any, two: Path, page: str, said: str) -> None:
    with pytest.raises((AddressError, UsageError)) as error:
        world.get(page)
    assert said in str(error.value)


def test_an_unwatched_path_says_how_to_watch_it(world: Any, two: Path, tmp_path: Path, runs: Any) -> None:
    other = runs.run("elsewhere", checkpoints=1, base=tmp_path / "other")
    with pytest.raises(AddressError, match="not watched"):
        world.get(f"/v1/run?run={quote(str(other))}")


def test_curves_come_from_the_checkpoints_when_there_are_no_states(world: Any, two: Path) -> None:
    answer = world.get("/v1/curves?run=exp1&points=10")
    assert [step for step, _ in answer["metrics"]["loss"]] == [10, 20, 30]


def test_marks_are_written_where_the_sdk_reads_them(world: Any, two: Path) -> None:
    answer = world.post("/v1/marks", ref="exp1@step:10", kind="tag", name="paper")
    assert answer["checkpoint"]["tags"] == ["paper"]
    world.post("/v1/marks", ref="exp1@paper", kind="pin")
    world.post("/v1/marks", ref="exp1@paper", kind="note", text="the one")
    said = marks.read(RunPaths(two).marks).of(answer["checkpoint"]["id"])
    assert (said.tags, said.pinned, said.note) == (("paper",), True, "the one")
    shown = world.get("/v1/resolve?ref=exp1@paper")["checkpoint"]
    assert (shown["pinned"], shown["note"]) == (True, "the one")
    assert world.kinds().count("mark") == 3


def test_undo_of_marks_restores_what_was_before(world: Any, two: Path) -> None:
    world.post("/v1/marks", ref="exp1@step:10", kind="tag", name="paper")
    world.post("/v1/marks", ref="exp1@step:20", kind="tag", name="paper")
    world.post("/v1/marks", ref="exp1@step:20", kind="note", text="first")
    world.post("/v1/marks", ref="exp1@step:20", kind="note", text="second")
    world.post("/v1/undo")
    assert world.get("/v1/resolve?ref=exp1@paper")["checkpoint"]["note"] == "first"
    world.post("/v1/undo")
    world.post("/v1/undo")
    assert world.get("/v1/resolve?ref=exp1@paper")["checkpoint"]["step"] == 10
    world.post("/v1/undo")
    with pytest.raises(AddressError):
        world.get("/v1/resolve?ref=exp1@paper")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "tag", "name": "best"}, "moves by itself"),
        ({"kind": "tag"}, "needs a name"),
        ({"kind": "untag", "name": "paper"}, "has no tag"),
        ({"kind": "frame"}, "no kind of mark"),
        ({}, "'kind' has to be a text"),
    ],
)
def test_marks_that_cannot_be(world: Any, two: Path, body: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        world.post("/v1/marks", ref="exp1@latest", **body)
    assert not RunPaths(two).marks.exists()


def test_marks_of_foreign_runs_stay_out_of_their_directories(world: Any, tmp_path: Path) -> None:
    import torch

    base = tmp_path / "foreign"
    (base / "a").mkdir(parents=True)
    torch.save({"w": torch.zeros(2), "step": 3}, base / "a" / "model.pt")
    before = sorted(base.rglob("*"))
    world.post("/v1/roots", path=str(base))
    world.post("/v1/marks", ref="a", kind="tag", name="mine")
    assert "mine" in world.get("/v1/resolve?ref=a@mine")["checkpoint"]["tags"]
    assert sorted(base.rglob("*")) == before
    assert len(list(world.state.marks.iterdir())) == 1


def test_roots_come_and_go(world: Any, runs: Any) -> None:
    runs.run("exp1", checkpoints=2)
    added = world.post("/v1/roots", path=str(runs.base), exclude=["old*"])["root"]
    assert (added["state"], added["runs"], added["checkpoints"], added["mode"]) == ("ok", 1, 2, "observe")
    assert added["free_bytes"] > 0
    assert world.get("/v1/status")["roots"][0]["exclude"] == ["old*"]
    world.post("/v1/roots/remove", path=str(runs.base))
    assert world.get("/v1/roots") == {"roots": []}
    assert world.get("/v1/runs") == {"runs": []}
    assert (runs.base / "exp1" / "run.json").exists()


def test_rescan_counts_what_is_there(world: Any, two: Path, runs: Any) -> None:
    runs.run("exp3", checkpoints=2)
    assert world.post("/v1/rescan") == {"runs": 3, "checkpoints": 6}
    assert world.post("/v1/rescan", path=str(two)) == {"runs": 3, "checkpoints": 6}
    with pytest.raises(AddressError, match="no watched directory"):
        world.post("/v1/rescan", path="/nowhere")


def test_announcing_shows_a_run_and_refuses_what_is_none(world: Any, runs: Any, tmp_path: Path) -> None:
    directory = runs.run("exp7", checkpoints=1)
    assert world.post("/v1/announce", path=str(directory))["run"]["name"] == "exp7"
    with pytest.raises(UsageError, match=r"run\.json"):
        world.post("/v1/announce", path=str(tmp_path))


def test_past_events_are_a_page(world: Any, two: Path) -> None:
    events = world.get("/v1/events?follow=0&since=0")["events"]
    assert [event["kind"] for event in events] == ["run.added", "run.added"]
    assert world.get(f"/v1/events?since={events[-1]['seq']}") == {"events": []}


@pytest.mark.parametrize("page", ["/v1/roots", "/v1/roots/remove", "/v1/announce", "/v1/rescan"])
@pytest.mark.parametrize("body", [{"path": "a\0b"}, {"path_b64": 5}, {"path_b64": "AA=="}, {"path": ""}])
def test_a_path_that_none_can_have_is_wrong_usage(world: Any, page: str, body: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="'path' has to be a text"):
        world.post(page, **body)


def test_runs_and_checkpoints_are_filtered_sorted_and_counted_off(world: Any, two: Path) -> None:
    def named(query: str) -> list[str]:
        return [run["name"] for run in world.get(f"/v1/runs?{query}")["runs"]]

    assert named("filter=" + quote("checkpoints>1")) == ["exp1"]
    assert named("sort=name") == ["exp1", "exp2"]
    assert named("sort=-name&limit=1") == ["exp2"]
    answer = world.get("/v1/run?run=exp1&sort=step&filter=" + quote("loss<0.85 and not step-000030*"))
    assert [c["step"] for c in answer["checkpoints"]] == [20]
    assert answer["run"]["checkpoints"] == 3
    assert answer["checkpoints"][0]["verdict"]["action"] == "keep"
    assert "unknown" not in answer
    assert [c["step"] for c in world.get("/v1/run?run=exp1&filter=verdict%3Dkeep&limit=2")["checkpoints"]] == [30, 20]


def test_names_that_no_row_has_are_told_with_those_that_come_near(world: Any, two: Path) -> None:
    answer = world.get("/v1/run?run=exp1&filter=" + quote("los<1"))
    assert answer["checkpoints"] == []
    assert "loss" in answer["unknown"]["los"]
    assert world.get("/v1/runs?sort=zzz")["unknown"] == {"zzz": []}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("filter=" + quote("loss<"), "a value is expected"),
        ("filter=", "it is empty"),
        ("limit=0", "would show nothing"),
        ("limit=x", "whole number"),
        ("sort=-", "no field"),
        ("fliter=x", "no parameter 'fliter'"),
    ],
)
def test_choices_that_cannot_be_read(world: Any, two: Path, query: str, said: str) -> None:
    for page in ("/v1/runs?", "/v1/run?run=exp1&"):
        with pytest.raises(UsageError, match=said):
            world.get(page + query)


def test_without_a_daemon_nothing_is_reloaded(world: Any) -> None:
    with pytest.raises(UsageError, match="needs a running daemon"):
        world.post("/v1/reload")


def test_a_reload_says_what_it_changed(world: Any) -> None:
    answer = {"changed": ["rescan_s: 60 -> 30"], "problems": []}
    service = world.parts.service(dict, reload=lambda: answer)
    assert service.post("/v1/reload", {}) == answer


def test_a_mark_waits_for_no_rescan_and_an_undo_for_the_mark_before_it(
    world: Any, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_rescan, go_on = threading.Event(), threading.Event()

    def full() -> set[str]:
        in_rescan.set()
        assert go_on.wait(20)
        return set()

    monkeypatch.setattr(world.scanner, "full", full)
    rescan = threading.Thread(target=lambda: world.post("/v1/rescan"))
    rescan.start()
    try:
        assert in_rescan.wait(20)
        world.post("/v1/marks", ref="exp1@latest", kind="pin")
        assert world.get("/v1/runs")["runs"]
        assert world.post("/v1/undo")["undone"]["kind"] == "pin"
        assert rescan.is_alive()
    finally:
        go_on.set()
        rescan.join(20)


def test_marks_from_many_threads_are_each_taken_back(world: Any, two: Path) -> None:
    def mark(number: int) -> None:
        world.post("/v1/marks", ref=f"exp1@step:{10 + 10 * (number % 3)}", kind="tag", name="moving")

    threads = [threading.Thread(target=mark, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for _ in range(9):
        world.post("/v1/undo")
    assert all("moving" not in c["tags"] for c in world.get("/v1/run?run=exp1")["checkpoints"])
