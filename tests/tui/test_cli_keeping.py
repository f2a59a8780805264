"""`ckpt plan`, `apply`, `prune`, `trash`, `undo`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ckpt.files import FileLock
from ckpt.paths import RunPaths
from ckpt_tui.output import Paint
from ckpt_tui.render.plans import plan_lines
from ckpt_tui.render.trash import trash_lines


@pytest.fixture
def training(runs: Any) -> Any:
    """A run with something to prune, held by its training so that the daemon leaves it alone until `release`."""
    directory = runs.run("exp1", policy={"keep_last": 2, "keep_best": 1, "monitor": "loss"})
    lock = FileLock(RunPaths(directory).lock)
    lock.acquire({"pid": os.getpid(), "host": "here", "program": "test"})
    for number in range(1, 6):
        runs.checkpoint(directory, step=number * 10, epoch=number, loss=number / 10)
    yield directory
    lock.release()


def names(directory: Path) -> set[str]:
    return {path.name for path in (directory / "checkpoints").glob("step-*.pt")}


def test_a_plan_of_a_path_needs_no_daemon(training: Path, ckpt: Any) -> None:
    answer = ckpt("plan", training)
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0].startswith("exp1   keeps last 2, best 1")
    assert [line.split()[:3] for line in lines[1:6]] == [
        ["KEEP", "step", "50"],
        ["KEEP", "step", "40"],
        ["KEEP", "step", "10"],
        ["REMOVE", "step", "30"],
        ["REMOVE", "step", "20"],
    ]
    assert "best #1 of 1" in lines[3] and "last: #3, keeps 2" in lines[4]
    assert "2 to the trash" in lines[-1]
    assert "ckpt apply" in answer.err
    assert len(names(training)) == 5


def test_other_rules_are_tried_on_a_path_and_change_nothing(training: Path, ckpt: Any) -> None:
    answer = ckpt("plan", training, "--policy", "keep_last=1 keep_best=1")
    assert answer.code == 0
    assert answer.out.startswith("exp1   keeps last 1, best 1 by loss   keep 2")
    assert "asks first: removes 3 of 5" in answer.out
    assert "ckpt apply" not in answer.out + answer.err and "nothing was done" in answer.err
    below = ckpt("plan", training.parent, "--policy", "keep_last=1", "--policy", "keep_best=1", "--json").json
    assert [c["step"] for c in below["runs"][0]["remove"]] == [40, 30, 20]
    assert len(names(training)) == 5


def test_rules_that_are_none_are_refused_with_what_is_meant(training: Path, ckpt: Any) -> None:
    answer = ckpt("plan", training, "--policy", "kep_last=3")
    assert answer.code == 2 and "keep_last" in answer.err
    assert ckpt("plan", training, "--policy", "keep_last=-1").code == 2
    nowhere = ckpt("plan", "--policy", "keep_last=3")
    assert nowhere.code == 2 and "which run or directory" in nowhere.err


def test_a_foreign_directory_says_what_would_go_and_how(tmp_path: Path, ckpt: Any) -> None:
    import torch

    run = tmp_path / "lab" / "lit" / "checkpoints"
    run.mkdir(parents=True)
    for epoch in range(4):
        torch.save(
            {"epoch": epoch, "global_step": epoch * 10, "pytorch-lightning_version": "2.6.0", "callbacks": {},
             "state_dict": {"w": torch.zeros(2)}, "optimizer_states": [], "lr_schedulers": [], "loops": {}},
            run / f"epoch={epoch}-step={epoch * 10}.ckpt",
        )  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    answer = ckpt("plan", tmp_path / "lab", "--policy", "keep_last=1 monitor=none")
    assert answer.code == 0 and "SKIP  4 checkpoints" in answer.out
    shown = ckpt("plan", tmp_path / "lab", "--policy", "keep_last=1 monitor=none", "--all")
    assert shown.out.count("settling: written") == 4
    assert "no rule" in ckpt("plan", tmp_path / "lab").out
    assert "ckpt policy set" in ckpt("plan", tmp_path / "lab").err
    assert ckpt("trash", "ls", tmp_path / "lab", "--json").json == {"entries": []}
    assert sorted(tmp_path.rglob("*")) == before


def test_json_of_a_plan_is_the_contract(training: Path, ckpt: Any) -> None:
    answer = ckpt("plan", training, "--json").json
    assert set(answer) >= {"id", "runs", "freed_now", "freed_at_purge"}
    (run,) = answer["runs"]
    assert {key: [c["step"] for c in run[key]] for key in ("keep", "remove", "skip")} == {
        "keep": [50, 40, 10], "remove": [30, 20], "skip": [],
    }  # fmt: skip
    assert all(c["reasons"] for c in run["keep"]) and all(c["near_misses"] for c in run["remove"])
    assert answer["freed_at_purge"] > 0
    assert ckpt("plan", training, "-q").out.strip() == answer["id"]
    assert ckpt("plan", training.parent, "--json").json["id"] == answer["id"]


@pytest.mark.parametrize(
    "command", [("apply", "abc"), ("apply", "abc", "--yes"), ("prune",), ("prune", "--yes"), ("undo", "--yes"),
                ("trash", "restore", "x"), ("trash", "purge", "x", "--yes")],
)  # fmt: skip
def test_changes_without_a_daemon_say_what_to_run(ckpt: Any, command: tuple[str, ...]) -> None:
    answer = ckpt(*command, "--json")
    assert answer.code == 4 and "ckptd start" in answer.error["hint"] and answer.out == ""


def test_the_trash_of_a_path(training: Path, ckpt: Any) -> None:
    answer = ckpt("trash", "ls", training, "--json")
    assert answer.code == 0 and answer.json == {"entries": []} and "the trash is empty" in answer.err


def test_purge_wants_to_know_what(ckpt: Any) -> None:
    assert ckpt("trash", "purge").code == 2
    assert ckpt("trash", "purge", "abc", "--all").code == 2


def test_prune_trash_and_undo(training: Path, ckpt: Any, daemon: Any, eventually: Any, runs: Any) -> None:
    plan = eventually(lambda: (p := ckpt("plan", "exp1", "--json").json) and len(p["runs"][0]["remove"]) == 2 and p)
    # A training holds the run: nothing is done, and it is said why.
    refused = ckpt("prune", "exp1", "--yes", "--json")
    assert refused.code != 0 or refused.json["removed"] == []
    assert len(names(training)) == 5

    assert ckpt("apply", plan["id"]).code == 2, "nobody is asked, so nothing is done"
    assert ckpt("apply", "00000000", "--yes").code == 2
    answer = ckpt("prune", "exp1", answer="n")
    assert answer.code == 1 and "nothing was done" in answer.err and "REMOVE" in answer.err
    assert len(names(training)) == 5


def test_an_enforced_removal_comes_back(runs: Any, ckpt: Any, daemon: Any, eventually: Any) -> None:
    directory = runs.run("exp1", policy={"keep_last": 2})
    for number in range(1, 5):
        runs.checkpoint(directory, step=number * 10)
    entries = eventually(lambda: len(e := ckpt("trash", "ls", "--json").json["entries"]) == 2 and e)
    assert set(entries[0]) >= {"id", "run", "path", "bytes", "trashed_at", "purge_at", "plan", "reasons"}
    assert names(directory) == {"step-000030.pt", "step-000040.pt"}
    assert [e["id"] for e in ckpt("trash", "ls", directory, "--json").json["entries"]] == [e["id"] for e in entries]
    table = ckpt("trash", "ls", "exp1").out
    assert "exp1" in table and "step-000010.pt" in table and "last" in table

    oldest = next(e for e in entries if e["path"].endswith("step-000010.pt"))
    assert ckpt("trash", "restore", oldest["id"], "-q").out == f"{directory}/checkpoints/step-000010.pt\n"
    assert ckpt("show", "exp1@step:10", "--json").json["checkpoint"]["pinned"] is True

    undone = ckpt("undo")
    assert undone.code == 2 and "--yes" in undone.err
    assert "step-000020.pt" in ckpt("undo", "--yes").out
    assert len(names(directory)) == 4
    nothing = ckpt("prune", "exp1", "--yes", "--json")
    assert nothing.code == 0 and nothing.json["removed"] == []

    ckpt("unpin", "exp1@step:10")
    eventually(lambda: "step-000010.pt" not in names(directory))
    (entry,) = ckpt("trash", "ls", "--json").json["entries"]
    assert ckpt("trash", "purge", entry["id"]).code == 2
    assert ckpt("trash", "purge", "nosuch", "--yes").code == 2
    purged = ckpt("trash", "purge", entry["id"][:6], answer="y", terminal=True)
    assert purged.code == 0 and "1 checkpoint deleted" in purged.out
    assert ckpt("trash", "purge", "--all", "--yes", "--json").json == {"purged": [], "freed": 0}


def test_what_does_not_come_back_is_told_beside_the_rest(runs: Any, ckpt: Any, daemon: Any, eventually: Any) -> None:
    directory = runs.run("exp1", policy={"keep_last": 2})
    for number in range(1, 5):
        runs.checkpoint(directory, step=number * 10)
    entries = eventually(lambda: len(e := ckpt("trash", "ls", "--json").json["entries"]) == 2 and e)
    oldest = next(e for e in entries if e["path"].endswith("step-000010.pt"))
    taken = directory / "checkpoints" / "step-000010.pt"
    taken.mkdir()
    nothing = ckpt("trash", "restore", oldest["id"])
    assert nothing.code == 3 and "nothing came back" in nothing.err and "taken by a newer file" in nothing.out
    assert ckpt("trash", "restore", oldest["id"], "--json").json["left"][0]["path"] == str(taken)
    # The two were removed one by one: the newer one comes back first, then nothing.
    while (undone := ckpt("undo", "--yes")).code == 0:
        assert "restored and pinned" in undone.out
    assert undone.code == 3 and "nothing came back" in undone.err and "taken back" not in undone.out
    assert "step-000020.pt" in names(directory) and taken.is_dir()
    taken.rmdir()
    assert ckpt("undo", "--yes").code == 0 and taken.is_file()
    assert ckpt("undo", "--yes").code == 2


def test_a_plan_of_a_watched_directory_is_the_daemons_and_is_applied_once(
    runs: Any, ckpt: Any, daemon: Any, eventually: Any
) -> None:
    directory = runs.run("exp1", policy={"keep_last": 2})
    lock = FileLock(RunPaths(directory).lock)
    lock.acquire({"pid": os.getpid(), "host": "here", "program": "test"})
    try:
        for number in range(1, 5):
            runs.checkpoint(directory, step=number * 10)
        plan = eventually(
            lambda: (p := ckpt("plan", runs.base, "--json").json)["runs"] and len(p["runs"][0]["remove"]) == 2 and p
        )
        refused = ckpt("apply", plan["id"], "--yes")
        assert refused.code == 3 and "held by process" in refused.out
        assert len(names(directory)) == 4
        again = ckpt("apply", plan["id"], "--yes", "--json")
        assert again.json["freed_now"] == 0 and again.json["freed_at_purge"] == 0
    finally:
        lock.release()
    eventually(lambda: len(names(directory)) == 2)
    late = ckpt("apply", plan["id"], "--yes")
    assert late.code == 3 and "new plan" in late.err


def test_a_plan_is_written_with_all_its_reasons() -> None:
    keep = {"id": "c1", "step": 10, "bytes": 2000, "metrics": {"v": None}, "nonfinite": ["v"],
            "reasons": [{"text": "last #1 of 2"}, {"text": "pinned"}], "near_misses": []}  # fmt: skip
    skip = {"id": "c2", "path": "/r/x\x1b.pt", "epoch": None, "bytes": 1, "reasons": [{"text": "incomplete"}]}
    plan = {
        "id": "8f3c", "freed_now": 0, "freed_at_purge": 0,
        "runs": [{"run": "r1", "policy": {"monitor": "v", "keep_last": 2, "keep_for": 9}, "keep": [keep],
                  "remove": [], "skip": [skip], "refused": "would leave nothing"}],
    }  # fmt: skip
    lines = plan_lines(plan, {"r1": "exp1"}, paint=Paint(False))
    assert lines[0] == "exp1   keeps last 2   keep 1 (2.0 KB)   remove 0   skip 1 (1 B)"
    assert lines[1].strip() == "nothing is removed: would leave nothing"
    assert lines[2].endswith("last #1 of 2 · pinned") and "v NaN" in lines[2]
    assert lines[3].startswith("SKIP") and "x\\x1b.pt" in lines[3] and lines[3].endswith("incomplete")
    assert lines[-1] == "plan 8f3c: nothing to remove"


def test_rows_of_one_step_are_told_by_their_names_and_long_plans_are_cut() -> None:
    def row(number: int, name: str, **more: Any) -> dict[str, Any]:
        return {"id": f"c{number}", "step": number, "path": f"/r/{name}", "bytes": 1000, **more}

    kept = [
        row(n, f"epoch={n}.ckpt", reasons=[{"text": f"last #{101 - n}"}], near_misses=[]) for n in range(100, 0, -1)
    ]
    observed = row(100, "last.ckpt", reasons=[{"rule": "observed", "text": "observed only"}],
                   near_misses=[{"text": "last: #4, keeps 3"}])  # fmt: skip
    odd = row(101, "epoch=101.ckpt", reasons=[{"text": "newest"}], near_misses=[{"text": "v is NaN: not ranked"}])
    policy = {"keep_last": 3, "keep_best": 2, "monitor": "v", "keep_every": [{"every": 3600.0, "within": 86400.0}]}
    run = {"run": "r1", "policy": policy, "keep": [odd, *kept], "remove": [], "skip": [observed],
           "ask": "removes 8 of 10 (80 %)"}  # fmt: skip
    plan = {"id": "8f3c", "freed_now": 0, "freed_at_purge": 0, "runs": [run]}
    lines = plan_lines(plan, {}, paint=Paint(False))
    assert lines[0].startswith("r1   keeps last 3, best 2 by v, one every 1 h for 1 d   keep 101")
    assert lines[1].strip() == "asks first: removes 8 of 10 (80 %); `ckpt apply 8f3c` confirms it"
    assert lines[2].endswith("newest   ! v is NaN: not ranked")
    assert "epoch=100.ckpt" in lines[3] and "step 99" in lines[4]
    assert lines[42].startswith("KEEP") and lines[42].endswith("61 older ones as well, 61 KB: --all shows them")
    assert lines[43].startswith("SKIP") and lines[43].endswith("observed only · last: #4, keeps 3")
    assert len(plan_lines(plan, {}, paint=Paint(False), everything=True)) == len(lines) + 60


def skipped(number: int, *, name: str = "") -> dict[str, Any]:
    reason = {"rule": "settling", "text": f"settling: written {number} s ago (needs 60 s)"}
    path = f"/r/{name or f'step-{number}.pt'}"
    return {"id": f"c{number}", "path": path, "step": number, "bytes": 1000, "reasons": [reason], "near_misses": []}


def test_neighbours_that_say_the_same_are_one_row_and_removals_stay_rows() -> None:
    gone = [{**skipped(n), "reasons": [], "near_misses": [{"text": f"last: #{n}, keeps 2"}]} for n in (9, 8, 7)]
    run = {"run": "r1", "policy": {"keep_last": 2}, "keep": [], "remove": gone,
           "skip": [skipped(n) for n in range(310, 0, -10)]}  # fmt: skip
    plan = {"id": "8f3c", "freed_now": 0, "freed_at_purge": 3000, "runs": [run, {**run, "run": "r2", "remove": []}]}
    lines = plan_lines(plan, {}, paint=Paint(False))
    assert [line.split()[0] for line in lines[1:5]] == ["REMOVE", "REMOVE", "REMOVE", "SKIP"]
    assert " ".join(lines[4].split()) == (
        "SKIP 31 checkpoints step 10 to 310 31 KB settling: written 10 to 310 s ago (needs 60 s)"
    )
    assert lines[-2] == "2 runs   keep 0   remove 3 (3.0 KB)   skip 62 (62 KB)"
    everything = plan_lines(plan, {}, paint=Paint(False), everything=True)
    assert sum(line.startswith("SKIP") for line in everything) == 62


def test_a_plan_fits_a_terminal_whatever_files_are_called() -> None:
    long = {**skipped(3, name="epoch=3-" + "very-" * 60 + "long.ckpt"), "step": None}
    kept = [
        {**skipped(n), "reasons": [{"text": f"last #{n} of 2"}, {"text": "best #1 of 3 by accuracy"}]} for n in (2, 1)
    ]
    run = {"run": "r1", "policy": {"keep_last": 2, "monitor": "accuracy", "keep_best": 3}, "keep": kept, "remove": [],
           "skip": [long], "ask": "removes 8 of 10 (80 %), more than half of the run at once"}  # fmt: skip
    plan = {"id": "8f3c", "freed_now": 0, "freed_at_purge": 0, "runs": [run]}
    for width in (40, 80, 100, 132):
        lines = plan_lines(plan, {}, paint=Paint(False), width=width)
        assert max(map(len, lines)) <= width, width
        words = " ".join(" ".join(lines).split())
        assert "best #1 of 3 by accuracy" in words and "settling: written 3 s ago (needs 60 s)" in words
        assert "…" in words and "more than half of the run at once" in words


def test_the_trash_says_why() -> None:
    entry = {"id": "t1", "run": "r1", "path": "/r/step-1.pt", "bytes": 10, "trashed_at": 1.0, "purge_at": 2.0,
             "reasons": [], "near_misses": [{"text": "last: #3, keeps 2"}]}  # fmt: skip
    (_, line) = trash_lines([entry], {}, paint=Paint(False), width=None)
    assert line.startswith("t1  r1") and line.endswith("last: #3, keeps 2")


def test_a_prune_that_could_remove_nothing_has_failed(training: Path, ckpt: Any, daemon: Any) -> None:
    answer = ckpt("prune", "exp1", "--yes")
    assert answer.code == 3
    assert "nothing could be removed" in answer.err and "undo" not in answer.out
    assert "held by process" in answer.out
    assert len(names(training)) == 5


def test_status_says_which_plans_wait_and_what_to_do() -> None:
    from ckpt_tui.render.status import status_lines

    asks = [{"run": "abcdef0123", "name": "lit-a/v 0", "plan": "8f3c", "text": "removes 8 of 10 (80 %)", "at": 1.0},
            {"run": None, "plan": "9d1e", "text": "800 checkpoints of 200 runs at once", "at": 1.0}]  # fmt: skip
    lines = list(status_lines({"daemon": {}, "roots": [], "asks": asks}, paint=Paint(False), width=None))
    told = "\n".join(lines)
    assert "lit-a/v 0: removes 8 of 10 (80 %)" in told
    assert "look and confirm with `ckpt prune 'lit-a/v 0'`" in told
    assert "look and confirm with `ckpt prune`" in told
