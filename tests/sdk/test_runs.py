"""Run: made without races, locked while it trains, ended as it ended, and its files readable by others."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from ckpt import files
from ckpt.exceptions import AddressError, CkptError, LockedError, OperationError, StateError, UsageError
from ckpt.paths import StatePaths
from ckpt.retention import Policy
from ckpt.runs import Run
from ckpt.runs import lock as locks
from ckpt.state import TrainingState


def state(step: int, loss: float = 0.5, /, **metrics: Any) -> TrainingState:
    return TrainingState(epoch=1, global_step=step, learning_rate=0.1, loss=loss, metrics=metrics)


def script(code: str, cwd: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=60, check=False, **kwargs
    )


def manifest(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "run.json").read_text())
    return found


def create_several(base: str, count: int) -> list[str]:
    names = []
    for _ in range(count):
        run = Run.create(base_dir=base)
        names.append(run.name)
        run.close()
    return names


def test_64_creations_from_8_processes_give_64_directories(tmp_path: Path) -> None:
    """Regression: two processes got the same expN; 64 creations gave 61 directories."""
    base = tmp_path / "runs"
    with ProcessPoolExecutor(8, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(create_several, str(base), 8) for _ in range(8)]
        names = [name for future in futures for name in future.result(timeout=120)]
    assert len(set(names)) == 64
    assert sorted(os.listdir(base)) == sorted(f"exp{i}" for i in range(1, 65))
    assert len({manifest(base / name)["id"] for name in names}) == 64


def test_numbers_go_on_after_the_highest(tmp_path: Path) -> None:
    (tmp_path / "exp7").mkdir()
    (tmp_path / "exp9x").mkdir()
    with Run.create(base_dir=tmp_path) as run:
        assert run.name == "exp8"


def test_a_named_run_is_made_once(tmp_path: Path) -> None:
    with Run.create("mine", tmp_path) as run:
        assert run.directory == tmp_path / "mine"
    with pytest.raises(UsageError, match="exists already"):
        Run.create("mine", tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\0b", "a@b", "a\\b"])
def test_names_that_cannot_be_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        Run.create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_the_callers_choice_becomes_a_run_and_keeps_its_files(tmp_path: Path) -> None:
    assert (Run.at(tmp_path / "new").paths.config).read_text() == "{}\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("lr: 1\n")
    run = Run.at(tmp_path / "mine")
    assert run.paths.config.read_text() == "lr: 1\n"
    run.begin()
    run.update(config={"lr": 2})
    run.close()
    assert run.paths.config.read_text() == "lr: 2\n"


def test_a_name_that_is_not_utf8_works_everywhere(tmp_path: Path) -> None:
    with Run.create(b"bl\xff\n", tmp_path) as run:
        run.emit(state(1, math.nan, acc=math.inf))
        directory = run.directory
    assert directory is not None
    assert os.fsencode(directory).endswith(b"bl\xff\n")
    again = Run.resume(directory)
    assert again.id == run.id
    again.close()
    assert len(list(files.read_json_lines(again.paths.states))) == 1
    announced = json.loads((StatePaths.here().announced / f"{run.id}.json").read_text())
    assert os.fsencode(tmp_path) in __import__("base64").b64decode(announced["path_b64"])


def test_a_run_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OperationError, match="no run can be made"):
        Run.create(base_dir=tmp_path / "file")


def test_hyper_parameters_are_written_for_people(tmp_path: Path) -> None:
    config = {
        "lr": 1e-05,
        "name": 'q"uote: #\n\x85',
        "no": True,
        "nested": {"betas": (0.9, math.inf), "empty": {}},
        "path": Path("/data"),
        "none": None,
    }
    with Run.create(base_dir=tmp_path, config=config) as run:
        text = run.paths.config.read_text()
        assert run.config["path"] == "/data"
    assert text.splitlines() == [
        "lr: 1.0e-05",
        'name: "q\\"uote: #\\x0a\\x85"',
        '"no": true',
        "nested:",
        "  betas: [0.9, .inf]",
        "  empty: {}",
        'path: "/data"',
        "none: null",
    ]
    assert Run.open(tmp_path / "exp1").config["name"] == config["name"]


def test_a_config_that_cannot_be_written_leaves_no_run(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"config\.fn\[1\]"):
        Run.create(base_dir=tmp_path / "runs", config={"fn": [1, print]})
    assert not (tmp_path / "runs").exists()


def test_the_manifest_tells_attempts_and_endings(tmp_path: Path) -> None:
    run = Run.create(base_dir=tmp_path, policy=Policy(keep_last=3), monitor="acc", mode="max", model_name="net")
    told = manifest(tmp_path / "exp1")
    assert (told["format"], told["name"], told["ending"], told["parent"]) == (1, "exp1", None, None)
    assert told["policy"]["keep_last"] == 3
    assert (told["monitor"], told["mode"], told["model_name"]) == ("acc", "max", "net")
    assert told["attempts"][0]["pid"] == os.getpid()
    run.close()
    run.close("failed")
    assert manifest(tmp_path / "exp1")["ending"] == "finished"
    with pytest.raises(RuntimeError), Run.resume("exp1", tmp_path) as second:
        assert second.attempt == 2
        assert manifest(tmp_path / "exp1")["ending"] is None
        raise RuntimeError
    told = manifest(tmp_path / "exp1")
    assert told["ending"] == "failed"
    assert [a["ending"] for a in told["attempts"]] == ["finished", "failed"]


ENDINGS = {
    "pass": "finished",
    "raise RuntimeError('x')": "failed",
    "import os; os._exit(0)": None,
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": None,
    "import os\nif os.fork() == 0:\n    raise SystemExit\nos.wait()\nraise KeyboardInterrupt": "failed",
}


@pytest.mark.parametrize("code", ENDINGS)
def test_an_unclosed_run_ends_as_its_process_does(tmp_path: Path, code: str) -> None:
    script(f"from ckpt import Run\nrun = Run.create('r', {str(tmp_path)!r})\n{code}", tmp_path)
    assert manifest(tmp_path / "r")["ending"] == ENDINGS[code]
    assert files.FileLock(tmp_path / "r" / "run.lock").is_free()


def test_an_exception_hook_of_the_user_is_still_called(tmp_path: Path) -> None:
    done = script(
        "import sys\nsys.excepthook = lambda *a: print('mine')\nfrom ckpt import Run\n"
        f"run = Run.create('r', {str(tmp_path)!r})\n1/0",
        tmp_path,
    )
    assert done.stdout == "mine\n"
    assert manifest(tmp_path / "r")["ending"] == "failed"


def test_a_second_process_cannot_resume_and_is_told_who_trains(tmp_path: Path) -> None:
    with Run.create("r", tmp_path):
        done = script(f"from ckpt import Run\nRun.resume('r', {str(tmp_path)!r})", tmp_path)
        assert done.returncode == 1
        assert f"LockedError: run 'r' is held by process {os.getpid()}" in done.stderr
        with pytest.raises(LockedError, match=str(os.getpid())):
            Run.resume("r", tmp_path)
        Run.open("r", tmp_path).checkpoints()
    assert len(manifest(tmp_path / "r")["attempts"]) == 1


def test_a_killed_training_can_be_resumed_at_once(tmp_path: Path) -> None:
    code = (
        "from ckpt import Run\nimport time\n"
        f"Run.create('r', {str(tmp_path)!r})\nprint('up', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        assert training.stdout.readline() == "up\n"
        training.send_signal(signal.SIGKILL)
        training.wait(30)
    with Run.resume("r", tmp_path) as run:
        assert run.attempt == 2


def test_what_is_left_of_a_killed_training_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its writer has the lock too, until the last checkpoint is on the disk."""
    Run.create("r", tmp_path).close()
    code = (
        "import os, socket, sys, time\nfrom pathlib import Path\nfrom ckpt.files import FileLock\n"
        f"lock = FileLock(Path({str(tmp_path / 'r' / 'run.lock')!r}))\n"
        "lock.acquire({'pid': int(sys.argv[1]), 'host': socket.gethostname()})\n"
        "print('held', flush=True)\nsys.stdin.read(1)"
    )
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(ended.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "held\n"
        threading.Timer(1.0, writer.terminate).start()
        Run.resume("r", tmp_path).close()
        assert writer.wait(30)
    (told,) = [record.getMessage() for record in caplog.records if "finishing a checkpoint" in record.getMessage()]
    assert f"process {ended.pid}, has ended" in told


def test_what_is_left_of_a_killed_training_is_named_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "ENDED_WAIT_S", 0.1)
    monkeypatch.setattr(files, "pid_alive", lambda pid: False)
    with Run.create("r", tmp_path):
        monkeypatch.setattr(files.FileLock, "held_beside", False)
        with pytest.raises(LockedError, match=f"still held, though its training in process {os.getpid()} has ended"):
            Run.resume("r", tmp_path)


def test_the_same_process_is_told_that_it_trains_already(tmp_path: Path) -> None:
    """As when a cell of a notebook is run twice."""
    with Run.create("r", tmp_path), pytest.raises(LockedError, match="already, through another hook or Run") as raised:
        Run.resume("r", tmp_path)
    assert raised.value.hint == "close() that one first"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a platform without fork")
def test_a_forked_child_does_not_train(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom ckpt import CkptError, Run, TrainingState\n"
        f"run = Run.create('r', {str(tmp_path)!r})\n"
        "state = TrainingState(epoch=0, global_step=1, learning_rate=0.1, loss=1.0, metrics={})\n"
        "if os.fork() == 0:\n"
        "    print(run.training, run.lock_fd)\n"
        "    for act in (run.begin, lambda: run.emit(state), run.flush, run.close):\n"
        "        try:\n            act()\n        except CkptError as error:\n"
        "            print(str(error).splitlines()[0].replace(str(os.getppid()), 'PARENT'))\n"
        "    sys.exit(0)\n"
        "os.wait()\nrun.emit(state)\nprint(run.training, run.manifest['ending'])"
    )
    done = script(code, tmp_path)
    assert done.stdout.splitlines() == [
        "False None",
        "run 'r' is held by process PARENT on " + socket.gethostname(),
        "run 'r' is trained by the process that this was forked from",
        "True None",
    ], done.stderr
    assert [attempt["ending"] for attempt in manifest(tmp_path / "r")["attempts"]] == ["finished"]
    assert len((tmp_path / "r" / "states.jsonl").read_text().splitlines()) == 1


class Part:
    """Something under way that ends in an exception."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.ended = 0

    def wait(self) -> None: ...

    def close(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("error", [RuntimeWarning("one"), KeyboardInterrupt("two"), CkptError("three")])
def test_whatever_goes_wrong_at_the_end_the_run_is_free_again(tmp_path: Path, error: BaseException) -> None:
    """Regression: Ctrl-C in the wait for a save, and a warning made an error, left it locked and without ending."""
    run = Run.create("r", tmp_path)
    part = Part(error)
    run.under_way.attach(part)
    run.under_way.afterwards(part.end)
    with pytest.raises(type(error), match=str(error)):
        run.close("failed")
    assert (run.training, part.ended, manifest(tmp_path / "r")["ending"]) == (False, 1, "failed")
    Run.resume("r", tmp_path).close()


def test_all_that_goes_on_is_closed_and_the_first_failure_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create("r", tmp_path)
    for number in range(3):
        run.under_way.attach(Part(RuntimeWarning(str(number))))
    with pytest.raises(RuntimeWarning, match="0"):
        run.close()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == ["1", "2"]


def test_the_error_that_ended_a_training_is_not_hidden_by_a_later_one(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Run.create("r", tmp_path) as run:
        run.under_way.attach(Part(RuntimeWarning("of a callback")))
        raise ZeroDivisionError
    assert manifest(tmp_path / "r")["ending"] == "failed"


def test_a_run_does_not_keep_alive_what_only_hears_of_its_end(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        part = Part()
        run.under_way.afterwards(part.end)
        gone = weakref.ref(part)
        del part
        assert gone() is None


@pytest.mark.parametrize(("host", "stays"), [(socket.gethostname(), False), ("elsewhere", True)])
def test_what_a_killed_training_left_goes_at_once_unless_it_may_live_elsewhere(
    tmp_path: Path, host: str, stays: bool
) -> None:
    with Run.create("r", tmp_path) as run:
        run.update(attempts=[{**run.manifest["attempts"][0], "host": host}])
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(30)
    left = tmp_path / "r" / "checkpoints" / f".step-000001.pt.{child.pid}-00000000.tmp"
    left.write_bytes(b"")
    Run.resume("r", tmp_path).close()
    assert left.exists() is stays


def test_the_daemon_is_waited_for_while_it_prunes(tmp_path: Path) -> None:
    Run.create("r", tmp_path).close()
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom ckpt.files import FileLock\n"
        f"lock = FileLock(Path({str(tmp_path / 'r' / 'run.lock')!r}))\n"
        "lock.acquire({'pid': 1, 'program': 'ckptd'})\nprint('held', flush=True)\ntime.sleep(0.5)\nlock.release()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as pruner:
        assert pruner.stdout is not None
        assert pruner.stdout.readline() == "held\n"
        begun = time.monotonic()
        Run.resume("r", tmp_path).close()
        assert time.monotonic() - begun < 5
        pruner.wait(30)


def test_an_unknown_run_names_what_is_near(tmp_path: Path) -> None:
    Run.create("baseline", tmp_path).close()
    with pytest.raises(AddressError, match="there is baseline"):
        Run.open("baselin", tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"id": "x", "format": 2}'])
def test_a_damaged_or_newer_manifest_is_not_guessed_at(tmp_path: Path, content: str) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.json").write_text(content)
    with pytest.raises(OperationError, match=r"run\.json"):
        Run.resume("r", tmp_path)


def test_states_are_appended_under_the_rules_for_numbers(tmp_path: Path) -> None:
    import numpy as np

    with Run.create("r", tmp_path) as run:
        run.emit(state(1, val_loss=0.25))
        made = state(2, math.nan)
        made.metrics["acc"] = np.float32(0.5)  # type: ignore[assignment]
        made.metrics["low"] = -math.inf
        run.emit(made)
    lines = [json.loads(line) for line in run.paths.states.read_text().splitlines()]
    assert [line["global_step"] for line in lines] == [1, 2]
    assert lines[0] == {
        "at": lines[0]["at"],
        "attempt": 1,
        "epoch": 1,
        "global_step": 1,
        "learning_rate": 0.1,
        "loss": 0.5,
        "metrics": {"val_loss": 0.25},
    }
    assert (lines[1]["loss"], lines[1]["metrics"]) == ("NaN", {"acc": 0.5, "low": "-Infinity"})


def test_a_torn_last_line_spoils_nothing_else(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        run.emit(state(1))
    with open(run.paths.states, "ab") as stream:
        stream.write(b'{"at": 17')
    with Run.resume("r", tmp_path) as again:
        again.emit(state(2))
    steps = [line["global_step"] for line in files.read_json_lines(run.paths.states)]
    assert steps == [1, 2]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def test_metrics_can_be_read_by_column_name_whenever_they_appeared(tmp_path: Path) -> None:
    """Regression: the learning rate was read from the column of the best accuracy."""
    with Run.create("r", tmp_path) as run:
        run.emit(state(1))
        run.flush()
        run.emit(state(2, math.nan, **{"val,loss": 0.25, "loss": 9.0}))
        run.flush()
        run.emit(state(3, acc=math.inf))
    found = rows(run.paths.metrics)
    assert [row["global_step"] for row in found] == ["1", "2", "3"]
    assert {None} & {key for row in found for key in row} == set()
    assert (found[0]["val,loss"], found[1]["val,loss"], found[1]["metrics.loss"]) == ("", "0.25", "9.0")
    assert math.isnan(float(found[1]["loss"]))
    assert float(found[2]["acc"]) == math.inf
    assert float(found[2]["learning_rate"]) == 0.1


def test_metrics_that_a_kill_lost_are_there_after_a_resume(tmp_path: Path) -> None:
    code = (
        "import os\nfrom ckpt import Run, TrainingState\n"
        f"run = Run.create('r', {str(tmp_path)!r})\n"
        "for i in range(50):\n    run.emit(TrainingState(0, i, 0.1, 0.5, metrics={'a': i}))\nos._exit(9)"
    )
    assert script(code, tmp_path).returncode == 9
    with Run.resume("r", tmp_path) as run:
        run.emit(state(50, b=1.0))
    found = rows(run.paths.metrics)
    assert [int(row["global_step"]) for row in found] == list(range(51))
    assert [row["attempt"] for row in found[-2:]] == ["1", "2"]


def test_an_untouched_metrics_file_is_only_appended_to(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        run.emit(state(1, a=1.0))
    before = run.paths.metrics.stat().st_ino
    with Run.resume("r", tmp_path) as again:
        again.emit(state(2, a=2.0))
    assert run.paths.metrics.stat().st_ino == before
    assert [row["a"] for row in rows(run.paths.metrics)] == ["1.0", "2.0"]


def test_a_full_disk_does_not_stop_the_training(tmp_path: Path) -> None:
    code = (
        "import resource, signal, warnings\nfrom ckpt import Run, TrainingState\n"
        f"run = Run.create('r', {str(tmp_path)!r})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    for i in range(40):\n        run.emit(TrainingState(0, i, 0.1, 0.5))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "run.emit(TrainingState(0, 99, 0.1, 0.5))\nrun.close()\nprint(len(seen), seen[0].message)"
    )
    done = script(code, tmp_path)
    assert done.stdout.startswith("1 states of run r cannot be written"), done.stderr
    steps = [line["global_step"] for line in files.read_json_lines(tmp_path / "r" / "states.jsonl")]
    assert steps[:3] == [0, 1, 2]
    assert steps[-1] == 99
    assert len(steps) < 41
    assert rows(tmp_path / "r" / "metrics.csv")[-1]["global_step"] == "99"


def test_only_a_training_handle_emits(tmp_path: Path) -> None:
    Run.create("r", tmp_path).close()
    with pytest.raises(UsageError, match="reading only"):
        Run.open("r", tmp_path).emit(state(1))


def test_it_announces_itself_where_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run.create("r", tmp_path) as run:
        told = json.loads((StatePaths.here().announced / f"{run.id}.json").read_text())
        assert (told["path"], told["id"]) == (str(tmp_path / "r"), run.id)
        assert abs(told["at"] - time.time()) < 60
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("CKPTD_STATE_HOME", str(blocked / "state"))
    with Run.create("other", tmp_path) as other:
        assert other.training


def test_other_ranks_stay_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with Run.create(base_dir=tmp_path / "runs") as run:
        assert run.silent
        assert run.directory is None
        run.emit(state(1))
        run.update(policy={})
        with pytest.raises(UsageError, match="rank 0 chose it"):
            _ = run.paths
    assert list(tmp_path.iterdir()) == []
    assert Run.create("named", tmp_path).directory == tmp_path / "named"
    assert Run.fork("named", "child", tmp_path).directory == tmp_path / "child"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("RANK", "0")
    with Run.create("named", tmp_path) as run:
        assert not run.silent
        monkeypatch.setenv("RANK", "3")
        with Run.resume("named", tmp_path) as other:
            assert (other.silent, other.directory, other.id) == (True, run.directory, run.id)
        assert Run.at(tmp_path / "named").silent
    assert len(manifest(tmp_path / "named")["attempts"]) == 1


def test_a_directory_becomes_a_run_unless_it_is_somebody_elses(tmp_path: Path) -> None:
    run = Run.at(tmp_path / "deep" / "here", experiment_name="label")
    assert manifest(tmp_path / "deep" / "here")["experiment_name"] == "label"
    assert not run.training
    assert Run.at(tmp_path / "deep" / "here").id == run.id
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match="something else wrote"):
        Run.at(tmp_path / "theirs")
    assert os.listdir(tmp_path / "theirs") == ["model.safetensors"]


def test_marks_are_kept_and_seen(tmp_path: Path, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=3)
    run = Run.open(directory)
    assert run.tag("step:10", "paper").tags == ("paper",)
    assert run.pin("best", "for the talk").pinned
    assert run.note("latest", "a\nb").note == "a\nb"
    assert run.checkpoint("paper").step == 10
    assert not run.unpin("best").pinned
    assert run.untag("paper", "paper").tags == ()
    with pytest.raises(UsageError, match="moves by itself"):
        run.tag("latest", "best")


def test_checkpoints_are_found_by_all_their_names(tmp_path: Path, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=2)
    run = Run.open(directory)
    newest = run.checkpoint()
    assert newest.step == 20
    path = directory / "checkpoints" / "step-000010.pt"
    for ref in (path, str(path), "step-000010.pt", "step:10", "~1", run.checkpoint("~1").id, run.checkpoint("~1")):
        assert run.checkpoint(ref).step == 10, ref
    elsewhere = tmp_path / "step-000010.pt"
    elsewhere.write_bytes(path.read_bytes())
    with pytest.raises(AddressError, match="it has step-000020"):
        run.checkpoint(elsewhere)


def test_a_fork_starts_by_itself_and_protects_its_start(tmp_path: Path, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=3, config={"lr": 0.1})
    with Run.fork("exp1@best", base_dir=directory.parent) as fork:
        assert fork.name == "exp2"
        assert fork.forked
        start = fork.checkpoints()[0]
        assert (start.label, start.loss, start.metrics, start.seq) == ("fork", None, {}, 0)
        assert fork.config == {"lr": 0.1}
        assert "lr: 0.1" in fork.paths.config.read_text()
    assert Run.open(directory).checkpoint("best").held_by == ("parent of exp2",)
    with Run.fork("exp1", "child", directory.parent, checkpoint="epoch:1", config={"lr": 0.5}) as fork:
        assert fork.config == {"lr": 0.5}
        assert manifest(directory.parent / "child")["config"] == {"lr": 0.5}
        assert fork.checkpoints()[0].step == 10
    with Run.fork(directory / "checkpoints" / "step-000020.pt", base_dir=directory.parent) as fork:
        assert fork.checkpoints()[0].step == 20
    with Run.fork(Run.open(directory), base_dir=directory.parent) as fork:
        assert fork.checkpoints()[0].step == 30
    with pytest.raises(UsageError, match="exists already"):
        Run.fork("exp1", "child", directory.parent)
    with pytest.raises(AddressError, match="no checkpoint of epoch 9"):
        Run.fork("exp1@epoch:9", base_dir=directory.parent)


def test_importing_a_run_loads_neither_torch_nor_numpy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ckpt import Run, TrainingState, CheckpointConfig\n"
        f"with Run.create('r', {str(tmp_path)!r}) as run:\n    run.emit(TrainingState(0, 1, 0.1, float('nan')))\n"
        "print([m for m in ('torch', 'numpy', 'textual') if m in sys.modules])"
    )
    assert script(code, tmp_path).stdout.strip() == "[]"
