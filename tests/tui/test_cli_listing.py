"""`ckpt ls` on directories, without a daemon."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from ckpt import files
from ckpt.encoding import path_fields
from ckpt.paths import StatePaths
from ckpt.records import Checkpoint, Run, foreign_run_id
from ckpt_tui.output import Paint
from ckpt_tui.render.checkpoints import checkpoints_table
from ckpt_tui.render.runs import runs_table


def test_runs_below_a_directory(runs: Any, ckpt: Any) -> None:
    runs.run("exp1", checkpoints=2)
    runs.run("exp2", checkpoints=1)
    answer = ckpt("ls", runs.base)
    assert answer.code == 0 and answer.err == ""
    lines = answer.out.splitlines()
    assert lines[0].split()[:3] == ["RUN", "STATUS", "CHECKPOINTS"]
    assert {line.split()[0] for line in lines[1:]} == {"exp1", "exp2"}


def test_json_of_runs_is_the_contract(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=2)
    (run,) = ckpt("ls", runs.base, "--json").json["runs"]
    assert set(run) >= {
        "id", "name", "root", "path", "own", "status", "checkpoints", "bytes", "latest", "best", "parent", "updated_at",
    }  # fmt: skip
    assert run["path"] == str(directory) and run["checkpoints"] == 2 and run["own"] is True
    assert run["latest"] == run["best"] and run["parent"] is None


def test_json_of_a_run_is_the_contract(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=3)
    answer = ckpt("ls", directory, "--json").json
    assert answer["run"]["name"] == "exp1"
    assert [c["step"] for c in answer["checkpoints"]] == [30, 20, 10]
    for checkpoint in answer["checkpoints"]:
        assert set(checkpoint) >= {
            "id", "run", "path", "framework", "format", "state", "seq", "step", "epoch", "metrics", "nonfinite",
            "bytes", "saved_at", "tags", "pinned", "note", "verdict",
        }  # fmt: skip
        assert checkpoint["verdict"]["action"] == "keep" and checkpoint["verdict"]["reasons"]


def test_the_table_of_a_run_has_every_column(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", policy={"keep_last": 1, "keep_best": 1, "monitor": "val_loss"})
    runs.checkpoint(directory, step=10, epoch=1, loss=0.5, metrics={"val_loss": 0.25})
    runs.checkpoint(directory, step=20, epoch=2, loss=math.nan, metrics={"val_loss": math.nan})
    runs.checkpoint(directory, step=30, epoch=3, loss=0.75, metrics={"val_loss": 0.5})
    head, *rows = ckpt("ls", directory).out.splitlines()[3:]
    assert head.split() == ["NAME", "ID", "STEP", "EPOCH", "LOSS", "val_loss", "SIZE", "AGE", "TAGS", "VERDICT"]
    assert rows[0].split()[0] == "step-000030.pt"
    assert rows[0].split()[2:6] == ["30", "3", "0.75", "0.5"] and "keep: last #1" in rows[0]
    assert rows[1].split()[2:6] == ["20", "2", "NaN", "NaN"] and "remove: " in rows[1]
    assert "best" in rows[2] and "keep: best #1" in rows[2]


def test_a_nonfinite_metric_is_null_and_named_in_json(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1")
    runs.checkpoint(directory, step=10, loss=math.inf, metrics={"val_loss": math.nan})
    (checkpoint,) = ckpt("ls", directory, "--json").json["checkpoints"]
    assert checkpoint["metrics"] == {"val_loss": None} and checkpoint["loss"] is None
    assert set(checkpoint["nonfinite"]) == {"val_loss", "loss"}
    assert " inf " in ckpt("ls", directory).out


def test_filter_sort_tag_limit(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=5)

    def steps(*options: str) -> list[int]:
        return [c["step"] for c in ckpt("ls", directory, "--json", *options).json["checkpoints"]]

    assert steps("--filter", "loss<0.75 and step<50") == [40, 30]
    assert steps("--sort", "loss") == [50, 40, 30, 20, 10]
    assert steps("--sort", "-loss") == [10, 20, 30, 40, 50]
    assert steps("--sort", "step", "--limit", "2") == [10, 20]
    assert steps("--tag", "best") == [50]
    assert steps("--tag", "nothing") == []


def test_quiet_prints_ids_only(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=2)
    ids = [c["id"] for c in ckpt("ls", directory, "--json").json["checkpoints"]]
    assert ckpt("ls", directory, "-q").out.split() == ids
    run = ckpt("ls", directory, "--json").json["run"]["id"]
    assert ckpt("ls", runs.base, "-q").out.split() == [run]


def test_a_misspelt_field_is_told(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    answer = ckpt("ls", directory, "--filter", "los<1")
    assert answer.code == 0
    assert "nothing here has 'los'; did you mean loss" in answer.err
    assert "none of 1 checkpoints fits" in answer.err


def test_a_bad_filter_is_wrong_usage_and_points(runs: Any, ckpt: Any) -> None:
    answer = ckpt("ls", runs.run("exp1", checkpoints=1), "--filter", "loss<", "--json")
    assert answer.code == 2 and answer.out == ""
    assert "column 6" in answer.err and answer.error["kind"] == "UsageError"


def test_limit_zero_and_tag_without_run(runs: Any, ckpt: Any) -> None:
    runs.run("exp1", checkpoints=1)
    assert ckpt("ls", runs.base, "--limit", "0").code == 2
    answer = ckpt("ls", runs.base, "--tag", "best")
    assert answer.code == 2 and "ckpt ls RUN --tag best" in answer.err


def test_empty_directory_and_empty_run(tmp_path: Path, runs: Any, ckpt: Any) -> None:
    (tmp_path / "nothing").mkdir()
    answer = ckpt("ls", tmp_path / "nothing", "--json")
    assert answer.code == 0 and answer.json == {"runs": []} and "no run lies below" in answer.err
    answer = ckpt("ls", runs.run("exp1"))
    assert answer.code == 0 and "has no checkpoints yet" in answer.err


def test_a_foreign_run(tmp_path: Path, ckpt: Any) -> None:
    import torch

    (tmp_path / "theirs").mkdir()
    torch.save({"epoch": 3, "model": {"w": torch.zeros(2)}}, tmp_path / "theirs" / "epoch=3.pt")
    answer = ckpt("ls", tmp_path / "theirs", "--json").json
    assert answer["run"]["own"] is False
    assert [Path(c["path"]).name for c in answer["checkpoints"]] == ["epoch=3.pt"]
    assert ckpt("ls", tmp_path, "--json").json["runs"][0]["name"] == "theirs"


def test_no_path_does_not_write_anything(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    before = sorted(str(p) for p in directory.rglob("*"))
    ckpt("ls", directory)
    ckpt("ls", runs.base)
    assert sorted(str(p) for p in directory.rglob("*")) == before


def test_a_name_that_is_not_utf8_survives(tmp_path: Path, runs: Any, ckpt: Any) -> None:
    name = os.fsdecode(b"ex\xffp")
    directory = runs.run("exp1", checkpoints=1)
    directory.rename(directory.with_name(name))
    (run,) = ckpt("ls", runs.base, "--json").json["runs"]
    assert run["path"].endswith("ex\\xffp") and "path_b64" in run
    assert "ex\\xffp" in ckpt("ls", runs.base).out
    answer = ckpt("show", directory.with_name(name) / "checkpoints" / "step-000010.pt", "-q")
    assert answer.raw == os.fsencode(directory.with_name(name)) + b"/checkpoints/step-000010.pt\n"


def test_tables_are_cut_to_a_terminal_only(runs: Any, ckpt: Any, monkeypatch: Any) -> None:
    runs.run("a-run-with-a-name-" + "x" * 80, checkpoints=1)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    assert all(len(line) <= 100 for line in ckpt("ls", runs.base, terminal=True).out.splitlines())
    assert "x" * 80 in ckpt("ls", runs.base).out


def test_text_from_outside_cannot_drive_the_terminal() -> None:
    run = Run(id="r", name="a\x1b[2J", root="/", path="/a\x1b[2J", own=True, monitor="m\x1b[31m")
    checkpoint = Checkpoint(id="c", run="r", path="/c", tags=("t\x1b[0m",), metrics={"m\x1b[31m": 1.0})
    lines = runs_table([run], known=[run], paint=Paint(False), width=None)
    lines += checkpoints_table(run, [(checkpoint, None)], paint=Paint(False), width=None)
    assert "\x1b" not in "\n".join(lines)


def test_equal_names_are_told_apart() -> None:
    twins = [Run(id=f"r{i}", name="exp", root="/", path=f"/{part}/exp", own=True) for i, part in enumerate("ab")]
    lines = runs_table(twins, known=twins, paint=Paint(False), width=None)
    assert [line.split()[0] for line in lines[1:]] == ["a/exp", "b/exp"]


def test_the_dashboard_and_the_command_mean_the_same_by_a_filter(runs: Any, ckpt: Any) -> None:
    from ckpt.filters import checkpoint_fields
    from ckpt.protocol import checkpoint_from_json
    from ckpt_tui.dashboard.filtering import checkpoint_words, read_query, select

    directory = runs.run("exp1", checkpoints=5)
    runs.checkpoint(directory, step=60, loss=math.nan, metrics={"val_loss": 0.25})
    everything = [checkpoint_from_json(raw) for raw in ckpt("ls", directory, "--json").json["checkpoints"]]
    words = [checkpoint_words(checkpoint) for checkpoint in everything]
    for text in ("loss<0.75 and step<50", "not has:val_loss", "step-0000[34]*", "val_*>0 or step=10", "loss=nan"):
        shown = select(read_query(text), everything, words, checkpoint_fields)
        listed = ckpt("ls", directory, "--json", "--filter", text).json["checkpoints"]
        assert [c.id for c in shown] == [raw["id"] for raw in listed] and listed, text


def listed(checkpoints: list[Checkpoint], *, width: int | None = None, monitor: str | None = None) -> list[str]:
    run = Run(id="r", name="r", root="/", path="/r", own=False, monitor=monitor)
    rows = [(checkpoint, None) for checkpoint in checkpoints]
    return checkpoints_table(run, rows, paint=Paint(False), width=width)


def test_names_come_first_and_stay_readable_in_a_narrow_terminal() -> None:
    long = [
        Checkpoint(
            id=f"{n:012}", run="r", path=f"/r/model-epoch={n:02}-step={n * 100}-val_loss=0.{n}31.ckpt", step=n * 100,
            epoch=n, loss=0.5, metrics={"val_loss": 0.25}, bytes=10**9, saved_at=1.0, tags=("best", "best-1", "latest"),
            state="incomplete" if n == 2 else "complete",
        )
        for n in (1, 2)
    ]  # fmt: skip
    wide = listed(long, monitor="val_loss")
    assert wide[0].split()[:2] == ["NAME", "ID"] and long[0].id in wide[1] and "best latest" in wide[1]
    for width in (80, 100, 120):
        head, *rows = listed(long, width=width, monitor="val_loss")
        assert head.startswith("NAME") and all(len(line) <= width for line in (head, *rows))
        assert all(row.split()[0].endswith(f"{n}31.ckpt") for n, row in enumerate(rows, 1)), rows
        assert "incomplete" in rows[1] and "0.25" in rows[1]


def test_columns_that_nobody_fills_are_left_out() -> None:
    head = listed([Checkpoint(id="c", run="r", path="/r/a.safetensors"), Checkpoint(id="d", run="r", path="/r/b.pt")])[
        0
    ]
    assert head.split() == ["NAME", "ID", "SIZE", "AGE"]


def test_two_of_one_name_are_told_apart_by_their_directories() -> None:
    rows = listed(
        [Checkpoint(id="c", run="r", path="/r/a/model.pt"), Checkpoint(id="d", run="r", path="/r/b/model.pt")]
    )
    assert [row.split()[0] for row in rows[1:]] == ["a/model.pt", "b/model.pt"]


def test_a_verdict_that_all_share_stands_once(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=3)
    text = ckpt("ls", directory).out
    assert text.count("keep: no rule") == 1 and "VERDICT" not in text
    assert "VERDICT" in ckpt("ls", runs.run("exp2", checkpoints=3, policy={"keep_last": 1})).out
    assert "VERDICT" in ckpt("ls", directory, "--limit", "1").out


def test_a_path_to_nothing_is_told_as_a_path(
    runs: Any, ckpt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.run("exp1", checkpoints=1)
    monkeypatch.chdir(tmp_path)
    for command in (("ls", "runs/exp2"), ("show", "runs/exp2"), ("show", "runs/exp2@best")):
        answer = ckpt(*command)
        assert answer.code == 2 and "there is no directory runs/exp2" in answer.err, command
        assert "did you mean runs/exp1?" in answer.err
    assert "no run is named 'exp2'" in ckpt("ls", "exp2").err


def test_a_foreign_run_has_the_id_of_its_watched_root(tmp_path: Path, ckpt: Any) -> None:
    run = tmp_path / "a" / "b" / "run"
    run.mkdir(parents=True)
    (run / "step_10.pt").write_bytes(b"")
    state = StatePaths.here().roots
    state.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(state, {"roots": [path_fields(str(tmp_path))], "seen": []})
    expected = foreign_run_id(str(tmp_path), "a/b/run")
    listed = ckpt("ls", run, "--json").json
    assert listed["run"]["id"] == expected and listed["run"]["root"] == str(tmp_path)
    assert [found["id"] for found in ckpt("ls", tmp_path / "a", "--json").json["runs"]] == [expected]
    assert ckpt("show", run / "step_10.pt", "--json").json["run"]["id"] == expected
