"""`ckpt watch`, `status`, `events`, `tui`, `doctor`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ckpt_tui.output import Paint
from ckpt_tui.render.runs import status_lines


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


def test_status_without_a_daemon(ckpt: Any) -> None:
    answer = ckpt("status")
    assert answer.code == 0 and "not running" in answer.out and "ckpt watch add DIR" in answer.out


def test_status_in_words() -> None:
    status = {
        "daemon": {"pid": 7, "version": "0.1.0", "uptime_s": 200.0},
        "roots": [{"path": "/r\x1b", "mode": "observe", "state": "lost", "runs": 2, "checkpoints": 5, "bytes": 10,
                   "free_bytes": 3_000_000_000, "full_in_s": 7300.0}],
    }  # fmt: skip
    lines = status_lines(status, paint=Paint(False), width=None)
    assert lines[0] == "daemon   running, process 7, version 0.1.0, for 3 min"
    assert lines[-1].split() == ["/r\\x1b", "observe", "lost", "2", "5", "10", "B", "3.0", "GB", "2", "h"]


def test_events_are_json_lines(ckpt: Any, daemon: Any, runs: Any, eventually: Any) -> None:
    runs.run("exp1", checkpoints=1)
    eventually(lambda: "exp1" in ckpt("ls").out)
    events = [json.loads(line) for line in ckpt("events").out.splitlines()]
    assert events and all(set(event) >= {"seq", "at", "kind", "run", "checkpoint"} for event in events)
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    later = [json.loads(line)["seq"] for line in ckpt("events", "--since", events[0]["seq"]).out.splitlines()]
    assert later == [event["seq"] for event in events[1:]] or later[: len(events) - 1] == [e["seq"] for e in events[1:]]


def test_following_without_a_daemon_is_an_error(ckpt: Any) -> None:
    assert ckpt("events", "--follow").code == 4
    assert ckpt("events").code == 0


def test_the_dashboard_needs_a_terminal(ckpt: Any) -> None:
    answer = ckpt("tui")
    assert answer.code == 2 and "needs a terminal" in answer.err


def test_the_dashboard_of_no_directory(ckpt: Any, tmp_path: Path) -> None:
    answer = ckpt("tui", tmp_path / "none", terminal=True, answer="")
    assert answer.code == 2 and "is not a directory" in answer.err


def test_doctor_without_a_daemon(ckpt: Any, own_places: Path) -> None:
    answer = ckpt("doctor", "--json")
    assert answer.code == 0
    found = answer.json
    assert found["paths"]["config"] == str(own_places / "config") and found["daemon"] is None
    assert "CKPTD_AUTOSTART=0" in found["autostart"] and found["versions"]["ckptd"]
    assert all(check["ok"] for check in found["checks"])
    assert "not running" in ckpt("doctor").out
    assert not (own_places / "state").exists(), "looking makes nothing"


def test_doctor_with_a_daemon(ckpt: Any, daemon: Any) -> None:
    found = ckpt("doctor", "--json").json
    assert found["daemon"]["pid"] == daemon.pid


def test_doctor_finds_a_place_that_is_no_directory(ckpt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("CKPTD_CONFIG_HOME", str(tmp_path / "file" / "config"))
    answer = ckpt("doctor")
    assert answer.code == 1 and "WRONG" in answer.out
    assert ckpt("doctor", "-q").out.split() == ["config"]
