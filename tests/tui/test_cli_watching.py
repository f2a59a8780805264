"""`ckpt watch`, `status`, `events`, `tui`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ckpt_tui.output import Paint
from ckpt_tui.render.events import event_line


def test_roots_come_and_go(tmp_path: Path, ckpt: Any, daemon: Any, runs: Any, eventually: Any) -> None:
    (tmp_path / "more").mkdir()
    answer = ckpt("watch", "add", tmp_path / "more", "--exclude", "old-*", "--json").json
    assert answer["root"]["path"] == str(tmp_path / "more") and answer["root"]["mode"] == "observe"
    listed = ckpt("watch", "ls", "--json").json["roots"]
    assert {root["path"] for root in listed} == {str(tmp_path / "more"), str(tmp_path / "runs")}
    assert set(ckpt("watch", "ls", "-q").out.split()) == {str(tmp_path / "more"), str(tmp_path / "runs")}
    assert str(tmp_path / "more") in ckpt("status").out

    runs.run("exp9", checkpoints=1, base=tmp_path / "more")
    eventually(lambda: "exp9" in ckpt("ls").out)

    refused = ckpt("watch", "rm", tmp_path / "more")
    assert refused.code == 2 and "--yes" in refused.err
    assert ckpt("watch", "rm", tmp_path / "more", "--yes").code == 0
    again = ckpt("watch", "rm", tmp_path / "more", "--yes", "--json")
    assert again.code == 2 and str(tmp_path / "runs") in again.error["candidates"]
    assert (tmp_path / "more" / "exp9" / "run.json").exists()


def test_what_naming_a_directory_finds(tmp_path: Path, ckpt: Any, daemon: Any, runs: Any) -> None:
    runs.run("exp1", checkpoints=2, base=tmp_path / "more")
    runs.run("exp2", checkpoints=1, base=tmp_path / "more")
    answer = ckpt("watch", "add", f"{tmp_path}/more/", "--exclude", "old-*")
    assert answer.out.splitlines()[0] == f"watching {tmp_path}/more (observe)"
    assert "  2 runs, 3 checkpoints, " in answer.out and "  passes over old-*" in answer.out
    assert "only looked at" in answer.err and "leads to" not in answer.err

    absorbing = ckpt("watch", "add", tmp_path / "more" / "exp1").err
    assert f"already watched by {tmp_path}/more" in absorbing

    (tmp_path / "empty").mkdir()
    assert "no run yet" in ckpt("watch", "add", tmp_path / "empty").out


def test_directories_by_other_names(
    tmp_path: Path, ckpt: Any, daemon: Any, monkeypatch: pytest.MonkeyPatch, runs: Any
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "link").symlink_to("more")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("more", "~/more/", "./link"):
        answer = ckpt("watch", "add", name)
        assert answer.code == 0 and f"watching {tmp_path}/more " in answer.out
        assert (f"./link leads to {tmp_path}/more" in answer.err) is (name == "./link")
        answer = ckpt("watch", "rm", name, "--yes")
        assert answer.code == 0, answer.err
        assert answer.out.splitlines() == [
            f"no longer watching {tmp_path}/more",
            "  its files, marks and trash stay as they are",
            f"  `ckpt watch add {tmp_path}/more` watches it again",
        ]


def test_a_directory_whose_name_is_not_utf8(tmp_path: Path, ckpt: Any, daemon: Any) -> None:
    odd = os.fsencode(tmp_path) + b"/a b\xff\x1b[31m"
    os.mkdir(odd)
    added = ckpt("watch", "add", os.fsdecode(odd), "-q")
    assert added.raw == odd + b"\n"
    assert odd + b"\n" in ckpt("watch", "ls", "-q").raw
    for shown in (ckpt("watch", "ls").out, ckpt("status").out):
        assert "a b\\xff\\x1b[31m" in shown and "\x1b" not in shown
    assert ckpt("watch", "rm", os.fsdecode(odd), "--yes").code == 0


def test_a_watched_directory_that_is_gone_can_be_taken_off(tmp_path: Path, ckpt: Any, daemon: Any) -> None:
    (tmp_path / "more").mkdir()
    assert ckpt("watch", "add", tmp_path / "more").code == 0
    (tmp_path / "more").rmdir()
    assert ckpt("watch", "rm", tmp_path / "more", "--yes").code == 0


def test_a_directory_that_was_renamed_is_followed(tmp_path: Path, ckpt: Any, daemon: Any, runs: Any) -> None:
    runs.run("exp1", checkpoints=1, base=tmp_path / "more")
    ckpt("watch", "add", tmp_path / "more")
    (tmp_path / "more").rename(tmp_path / "else")
    assert f"it was {tmp_path}/more before" in ckpt("watch", "add", tmp_path / "else").out
    assert str(tmp_path / "more") not in ckpt("watch", "ls", "-q").out.split()


def test_the_list_says_where_a_directory_comes_from(tmp_path: Path, ckpt: Any, daemon: Any) -> None:
    (tmp_path / "more").mkdir()
    ckpt("watch", "add", tmp_path / "more", "--exclude", "old-*", "--exclude", "scratch")
    lines = ckpt("watch", "ls").out.splitlines()
    (mine,) = [n for n, line in enumerate(lines) if line.startswith(str(tmp_path / "more"))]
    assert "named by `ckpt watch add`" in lines[mine + 1] and "passes over old-*, scratch" in lines[mine + 1]
    (theirs,) = [n for n, line in enumerate(lines) if line.startswith(str(tmp_path / "runs"))]
    assert "for this daemon's life" in lines[theirs + 1]


def test_a_question_is_asked_before_a_directory_is_taken_off(tmp_path: Path, ckpt: Any, daemon: Any) -> None:
    answer = ckpt("watch", "rm", tmp_path / "runs", answer="n")
    assert answer.code == 1 and "Files and marks stay" in answer.err and "nothing was done" in answer.err
    assert ckpt("watch", "ls", "-q").out == f"{tmp_path}/runs\n"


def test_directories_that_cannot_be_watched(tmp_path: Path, ckpt: Any) -> None:
    (tmp_path / "file").write_text("x")
    for name, part in (("nothing", "there is no"), ("file", "is not a directory")):
        answer = ckpt("watch", "add", tmp_path / name, "--json")
        assert answer.code == 2 and part in answer.error["message"], name


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_directory_that_cannot_be_read(tmp_path: Path, ckpt: Any) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    assert ckpt("watch", "add", tmp_path / "closed").code == 3


def test_status_is_the_contract(ckpt: Any, daemon: Any, tmp_path: Path) -> None:
    answer = ckpt("status", "--json").json
    assert answer["daemon"]["pid"] == daemon.pid
    assert set(answer["daemon"]) >= {"pid", "version", "uptime_s"}
    (root,) = answer["roots"]
    assert set(root) >= {"path", "mode", "state", "runs", "checkpoints", "bytes", "free_bytes", "full_in_s"}
    assert ckpt("status", "-q").out == f"{daemon.pid}\n"


def test_status_without_a_daemon(ckpt: Any, own_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CKPTD_AUTOSTART")
    answer = ckpt("status")
    assert answer.code == 0 and "not running; `ckptd start` starts it" in answer.out
    assert answer.out.splitlines()[-1] == "no directory is watched: `ckpt watch add DIR`"
    assert ckpt("status", "--json").json["daemon"]["pid"] is None and ckpt("status", "-q").out == ""
    assert not (own_places / "state").exists(), "asking how things are starts nothing"


def test_status_without_a_daemon_looks_at_the_disk(ckpt: Any, own_places: Path, runs: Any) -> None:
    runs.run("exp1", checkpoints=2)
    (own_places / "config").mkdir()
    (own_places / "config" / "config.toml").write_text(f'[[root]]\npath = "{runs.base}"\n')
    (root,) = ckpt("status", "--json").json["roots"]
    assert (root["runs"], root["checkpoints"]) == (1, 2)
    row = ckpt("status").out.splitlines()[-1].split()
    assert row[:5] == [str(runs.base), "observe", "readable", "1", "2"]


def test_events_are_json_lines(ckpt: Any, daemon: Any, runs: Any, eventually: Any) -> None:
    runs.run("exp1", checkpoints=1)
    eventually(lambda: "exp1" in ckpt("ls").out)
    events = [json.loads(line) for line in ckpt("events", "--json").out.splitlines()]
    assert events and all(set(event) >= {"seq", "at", "kind", "run", "checkpoint"} for event in events)
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    later = [json.loads(line)["seq"] for line in ckpt("events", "--json", "--since", events[0]["seq"]).out.splitlines()]
    assert later == [event["seq"] for event in events[1:]] or later[: len(events) - 1] == [e["seq"] for e in events[1:]]


def test_events_of_a_kind_and_of_a_run(ckpt: Any, daemon: Any, runs: Any, eventually: Any) -> None:
    first = runs.run("exp1", checkpoints=1)
    runs.run("exp2", checkpoints=1)
    eventually(lambda: {"exp1", "exp2"} <= set(ckpt("ls").out.split()))
    runs.checkpoint(first, step=99)
    wanted = {run["name"]: run["id"] for run in ckpt("ls", "--json").json["runs"]}

    def events(*options: str) -> list[Any]:
        return [json.loads(line) for line in ckpt("events", "--json", *options).out.splitlines()]

    kinds = {event["kind"] for event in eventually(lambda: events("--kind", "checkpoint.*"))}
    assert all(kind.startswith("checkpoint.") for kind in kinds)
    assert {event["run"] for event in events("--run", "exp1")} == {wanted["exp1"]}
    (added,) = events("--run", "exp2", "--kind", "run.added")
    assert added["run"] == wanted["exp2"]
    assert ckpt("events", "--run", "nothing").code == 2


def test_events_are_lines_for_a_person(ckpt: Any, daemon: Any, runs: Any, eventually: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    eventually(lambda: "exp1" in ckpt("ls").out)
    runs.checkpoint(directory, step=99)

    def told(*parts: str) -> bool:
        return any(all(part in line for part in parts) for line in ckpt("events").out.splitlines())

    eventually(lambda: told("checkpoint complete", "exp1", "step-000099.pt", "step 99"))
    for step in (10, 99):
        assert ckpt("pin", f"exp1@step:{step}").code == 0
    # The first was there before the run was found: no event told of its file.
    assert told("marked", "exp1", "step-000010.pt", "pin")
    assert told("run found", "exp1") and not told('"kind"')
    assert told("marked", "exp1", "step-000099.pt", "pin")


def test_what_an_event_says_in_words() -> None:
    def line(**event: Any) -> str:
        whole = event_line({"at": 0.0, "run": "r1", **event}, {"r1": "exp1"}, {"c3": "last.pt"}, paint=Paint(False))
        return whole.partition("exp1")[2]

    assert line(kind="state", step=4, epoch=0.5, loss=None, nonfinite=["loss"]) == "  step 4  epoch 0.50  loss NaN"
    assert line(kind="run.status", was="idle", status="training") == "  idle → training"
    assert line(kind="tag.moved", tag="best", was=None, checkpoint="c2") == "  best  nothing → c2"
    assert line(kind="tag.moved", tag="best", was="c3", checkpoint=None) == "  best  last.pt → nothing"
    assert line(kind="checkpoint.gone", checkpoint="c1", path="/r/a\x1b.pt", step=None) == "  a\\x1b.pt"
    gap = event_line({"at": 0.0, "kind": "daemon.gap", "run": None}, {}, {}, paint=Paint(False))
    assert gap.endswith("earlier events forgotten")


@pytest.mark.parametrize("options", [(), ("--follow",), ("--json",)])
def test_events_without_a_daemon_are_an_error(ckpt: Any, options: tuple[str, ...]) -> None:
    answer = ckpt("events", *options)
    assert answer.code == 4 and answer.out == "" and "ckptd start" in answer.err


def test_the_dashboard_needs_a_terminal(ckpt: Any) -> None:
    answer = ckpt("tui")
    assert answer.code == 2 and "needs a terminal" in answer.err


def test_the_dashboard_of_no_directory(ckpt: Any, tmp_path: Path) -> None:
    answer = ckpt("tui", tmp_path / "none", terminal=True, answer="")
    assert answer.code == 2 and "is not a directory" in answer.err
