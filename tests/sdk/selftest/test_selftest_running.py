"""Self-tests of real scripts: three processes each, one of them killed."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from ckpt.exceptions import OperationError, UsageError
from ckpt.selftest.commands import Command, of_script
from ckpt.selftest.running import Verdict, selftest

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory and a temporary directory of this test's own."""
    (tmp_path / "work").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def nothing_left(tmp_path: Path) -> object:
    """After the test there is no file and no process of the self-test any more."""
    yield
    assert list((tmp_path / "temporary").glob("ckpt-*")) == []
    assert list((tmp_path / "work").iterdir()) == []
    mark = os.fsencode(str(tmp_path))
    for entry in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc/self") else ()):
        if int(entry) == os.getpid():
            continue
        try:
            assert mark not in Path("/proc", entry, "environ").read_bytes()
        except OSError:
            continue


def trained(flaw: str, **options: object) -> Verdict:
    return selftest(of_script(str(SCRIPTS / "trained.py"), [flaw]), timeout_s=120, **options)  # type: ignore[arg-type]


def script(tmp_path: Path, text: str) -> Command:
    path = tmp_path / "script.py"
    path.write_text(text)
    return of_script(str(path))


@pytest.mark.usefixtures("nothing_left")
def test_a_training_with_workers_resumes_exactly_in_mid_epoch() -> None:
    said: list[str] = []
    found = trained("workers", steps=9, save_at=3, kill_at=5, say=said.append)
    assert found == Verdict(
        exact=True,
        steps=9,
        saved_at_step=3,
        killed_at_step=5,
        compared_steps=6,
        first_difference=None,
        notes=(),
    )
    assert [line[:3] for line in said] == ["1/3", "2/3", "3/3"]


@pytest.mark.usefixtures("nothing_left")
def test_a_generator_that_is_not_registered_is_found_by_the_loss() -> None:
    found = trained("own-generator", steps=7, save_at=3)
    assert found.first_difference is not None and not found.exact
    assert (found.first_difference.step, found.first_difference.what) == (4, "loss")
    assert found.first_difference.reference != found.first_difference.resumed
    assert "register(name, object)" in found.notes[0]


def test_a_scheduler_that_was_forgotten_is_found_by_the_rate_that_it_sets() -> None:
    found = trained("scheduler", steps=7, save_at=4)
    assert found.first_difference is not None
    assert (found.first_difference.step, found.first_difference.what) == (6, "optimizer")
    assert found.first_difference.name == "param_groups.0.lr"
    assert found.compared_steps == 2 and "scheduler" in found.notes[0]


@pytest.mark.usefixtures("nothing_left")
def test_a_script_that_makes_a_new_run_each_time_is_told_how_to_resume() -> None:
    with pytest.raises(UsageError, match="made a new run and did not resume") as raised:
        trained("new-run", steps=4)
    assert raised.value.hint is not None and "--resume-with '--resume {run}'" in raised.value.hint


def test_a_script_that_fails_shows_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="the first start of the script failed, with exit code 1") as raised:
        selftest(script(tmp_path, "print('reading the data')\nraise SystemExit('no data there')"))
    assert raised.value.hint == "its last lines:\nreading the data\nno data there"


@pytest.mark.usefixtures("nothing_left")
def test_a_script_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, time\n"
        "print('waiting for ever', flush=True)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(OperationError, match="still running after 2 s, before its first step") as raised:
        selftest(script(tmp_path, text), timeout_s=2)
    assert raised.value.hint is not None and "waiting for ever" in raised.value.hint


def test_a_script_without_a_hook_or_manager(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="made no step that could be seen, nor a run") as raised:
        selftest(script(tmp_path, "print(1)"))
    assert raised.value.hint is not None and "TrainingHook" in raised.value.hint


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(OperationError, match="cannot be started"):
        selftest(Command(argv=("/nowhere/python",), cwd=os.getcwd()))


def test_one_step_is_not_enough() -> None:
    with pytest.raises(UsageError, match="has to be 2 or more"):
        selftest(of_script(sys.executable), steps=1)
