"""`ckpt selftest`: real scripts and runs, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from ckpt.runs.redirecting import VARIABLE

SCRIPTS = Path(__file__).parent.parent / "sdk" / "selftest" / "scripts"
CKPT = str(Path(sys.executable).parent / "ckpt")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and a temporary directory of this test's own."""
    (tmp_path / "work").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "work"


def test_a_plain_loop_that_resumes_by_an_argument(ckpt: Any, work: Path, tmp_path: Path) -> None:
    answer = ckpt(
        "selftest", SCRIPTS / "looping.py", "--steps", 12, "--save-at", 4, "--resume-with", "--resume {run}", "--json"
    )
    assert answer.code == 0, answer.err
    told = answer.json
    killed = told.pop("killed_at_step")
    assert told == {
        "exact": True,
        "steps": 12,
        "saved_at_step": 4,
        "compared_steps": 8,
        "first_difference": None,
        "compared_parts": ["epoch", "random", "loss", "metrics", "optimizer", "weights"],
        "trials": [
            {"saved_at_step": 4, "killed_at_step": killed, "compared_steps": 8, "own_save": False, "epoch_end": False}
        ],
        "notes": [
            "by itself the script saved at step 10: a resume from there was not tried; --save-at 10 tries one",
        ],
    }
    assert 4 < killed <= 9
    assert answer.err.count("/3 ") == 3 and "--resume" in answer.err
    assert list(work.iterdir()) == [] and list((tmp_path / "temporary").glob("ckpt-*")) == []


def test_what_differs_is_told_with_both_values(ckpt: Any) -> None:
    answer = ckpt(
        "selftest", SCRIPTS / "trained.py", "--save-at", 3, "--kill-at", 5, "--steps", 6, "--", "plain-loader"
    )
    assert answer.code == 1, answer.err
    assert answer.out.startswith(
        "differs  saved at step 3, killed at step 5: 0 steps the same, then step 4 differs\n  first      batch: 0\n"
    )
    assert "ckpt.ResumableLoader in place of DataLoader" in answer.out
    assert "reference  float32 [4, 2] " in answer.out


def test_a_save_of_the_script_s_own_is_tried_without_being_asked_for(ckpt: Any) -> None:
    answer = ckpt("selftest", SCRIPTS / "pretending.py", "--", "saves")
    assert answer.code == 0, answer.err
    first, second = answer.out.splitlines()
    assert first.startswith("exact    saved at step ") and "epoch's end" not in first
    assert second.startswith("exact    saved at step 4 (an epoch's end), killed at step ")
    answer = ckpt("selftest", SCRIPTS / "pretending.py", "--", "forgets-at-ends")
    assert answer.code == 1, answer.err
    lines = answer.out.splitlines()
    assert lines[0].startswith("differs  saved at step 4 (an epoch's end), killed at step ")
    assert lines[4].startswith("exact    saved at step ")


def test_a_run_is_started_as_it_was_and_stays_as_it_is(ckpt: Any, runs: Any) -> None:
    command = [sys.executable, str(SCRIPTS / "pretending.py"), "other-loss"]
    run = runs.run("exp1", checkpoints=2, attempts=[{"started": 1.0, "command": command, "cwd": os.getcwd()}])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    answer = ckpt("selftest", run, "--save-at", 3, "--kill-at", 5, "--", "--epochs", 2)
    assert answer.code == 1, answer.err
    assert "then step 4 differs\n  first      loss: loss\n  reference  0.25\n" in answer.out
    assert "other-loss --epochs 2" in answer.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("command", "cwd", "code", "why"),
    [
        (None, "/", 2, "does not tell how it was started"),
        ([sys.executable, "-c", "import ckpt"], "/", 2, "with `python -c`"),
        ([sys.executable, "train.py"], "/gone", 3, "in /gone, which is gone"),
        (["/gone/python", "train.py"], "/", 3, "by /gone/python, which is gone"),
    ],
)
def test_runs_that_cannot_be_started_again(
    ckpt: Any, runs: Any, command: list[str] | None, cwd: str, code: int, why: str
) -> None:
    attempt = {"started": 1.0} if command is None else {"started": 1.0, "command": command, "cwd": cwd}
    directory = runs.run("exp1", attempts=[attempt])
    answer = ckpt("selftest", directory)
    assert answer.code == code and answer.out == ""
    assert why in answer.err and "name the script instead" in answer.err


def test_runs_of_others_do_not_tell_how_they_were_started(ckpt: Any, work: Path) -> None:
    import torch

    (work / "out").mkdir()
    torch.save({"model": {"w": torch.zeros(2)}, "epoch": 1}, work / "out" / "epoch1.pt")
    answer = ckpt("selftest", work / "out")
    assert answer.code == 2 and "was not made by ckpt" in answer.err


def test_a_script_that_fails_exits_3_with_its_last_lines(ckpt: Any, work: Path) -> None:
    (work / "bad.py").write_text("raise RuntimeError('no data there')")
    answer = ckpt("selftest", "bad.py", "--json")
    assert answer.code == 3 and answer.out == ""
    assert "RuntimeError: no data there" in answer.error["hint"]


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("nothing.py",), "there is no script nothing.py"),
        (("here.py", "--timeout", "soon"), "--timeout"),
        (("here.py", "--steps", "1"), "has to be 2 or more"),
        (("here.py", "--resume-with", "'"), "--resume-with cannot be read"),
    ],
)
def test_wrong_usage(ckpt: Any, work: Path, argv: tuple[str, ...], why: str) -> None:
    (work / "here.py").write_text("")
    answer = ckpt("selftest", *argv)
    assert answer.code == 2 and why in answer.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_self_test_that_is_ended_leaves_nothing(work: Path, tmp_path: Path, number: signal.Signals) -> None:
    (work / "slow.py").write_text(
        "import os, time\nopen('started', 'w').write(str(os.getpid()))\nos.rename('started', 'pid')\ntime.sleep(600)\n"
    )
    process = subprocess.Popen(
        [CKPT, "selftest", "slow.py"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        while not (work / "pid").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        script = int((work / "pid").read_text())
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + number and out == b""
    with pytest.raises(ProcessLookupError):
        os.kill(script, 0)
    assert list((tmp_path / "temporary").glob("ckpt-*")) == []


@pytest.mark.parametrize("words", ["pin {}@latest", "tag add {}@latest paper", "policy set {} keep_last=1 --yes"])
def test_commands_that_a_training_runs_mark_no_run_of_the_users(
    ckpt: Any, runs: Any, work: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    run = runs.run("exp1", checkpoints=2)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.setenv(VARIABLE, str(work / "plan.json"))
    answer = ckpt(*(word.format(run) for word in words.split()))
    assert answer.code == 2 and "a self-test goes on" in answer.err, answer.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_nothing_heavy_is_loaded(work: Path) -> None:
    (work / "none.py").write_text("")
    code = (
        "import sys\nfrom ckpt_tui.cli import main\n"
        "try:\n    main(['selftest', 'none.py'])\nexcept SystemExit:\n    pass\n"
        "import json; print(json.dumps([m for m in ('torch', 'numpy', 'textual', 'rich') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == []
