"""Whole self-tests: three processes each, one of them killed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import OperationError, UsageError
from ckpt.selftest.commands import Command, of_script
from ckpt.selftest.running import selftest
from ckpt.selftest.verdict import Trial, Verdict

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


def pretending(way: str, **options: Any) -> Verdict:
    return selftest(of_script(str(SCRIPTS / "pretending.py"), [way]), timeout_s=120, **options)


def script(tmp_path: Path, text: str) -> Command:
    path = tmp_path / "script.py"
    path.write_text(text)
    return of_script(str(path))


@pytest.mark.usefixtures("nothing_left")
def test_a_training_that_goes_on_as_it_was_is_exact() -> None:
    said: list[str] = []
    found = pretending("exact", steps=7, save_at=3, kill_at=5, say=said.append)
    assert found == Verdict(
        exact=True,
        steps=7,
        trials=(Trial(saved_at_step=3, killed_at_step=5, compared_steps=4, own_save=False, epoch_end=False),),
        first_difference=None,
        compared_parts=("epoch", "loss", "weights"),
        notes=(
            "by itself the script saved nowhere that a step comes behind, so the places where it does were not tried; "
            "--steps has it train longer",
        ),
    )
    assert [line[:3] for line in said] == ["1/3", "2/3", "3/3"]


@pytest.mark.usefixtures("nothing_left")
def test_what_differs_first_is_told_with_what_it_means() -> None:
    found = pretending("other-loss", save_at=3)
    assert found.first_difference is not None and not found.exact
    assert (found.first_difference.step, found.first_difference.what) == (4, "loss")
    assert (found.first_difference.reference, found.first_difference.resumed) == ("0.25", "0.5")
    assert found.trials[0].compared_steps == 1 and any("register(name, object)" in note for note in found.notes)


@pytest.mark.usefixtures("nothing_left")
def test_a_save_of_the_training_s_own_at_the_end_of_an_epoch_is_tried_too() -> None:
    said: list[str] = []
    found = pretending("saves", say=said.append)
    assert found.exact and found.notes == ()
    amid, end = found.trials
    assert amid.saved_at_step in (1, 2, 3) and (amid.own_save, amid.epoch_end) == (False, False)
    assert end.saved_at_step == 4 and (end.own_save, end.epoch_end, end.compared_steps) == (True, True, 4)
    assert [line[:3] for line in said] == ["1/3", "2/3", "3/3", "2/3", "3/3"]
    assert said[3].startswith("2/3 again, saved by itself at the end of an epoch, at step 4 and killed at step ")


def test_what_is_forgotten_at_the_end_of_an_epoch_only_is_found() -> None:
    found = pretending("forgets-at-ends")
    assert found.first_difference is not None
    assert (found.first_difference.step, found.first_difference.what) == (5, "loss")
    assert [trial.saved_at_step == 4 for trial in found.trials] == [False, True]
    assert found.to_json()["saved_at_step"] == 4 and found.to_json()["trials"][1]["own_save"] is True


@pytest.mark.usefixtures("nothing_left")
def test_a_failure_in_the_second_trial_tells_what_the_first_one_found() -> None:
    why = (
        r"from step [123] the script resumed exactly; tried from its own save at step 4, "
        "the third start of the script failed, with exit code 1"
    )
    with pytest.raises(OperationError, match=why) as raised:
        pretending("fails-at-ends")
    assert raised.value.hint == "its last lines:\nno next epoch"


@pytest.mark.parametrize(("way", "options"), [("forgets-at-ends", {"save_at": 3}), ("saves-at-first", {})])
def test_an_exact_answer_tells_of_the_saves_of_the_training_s_own_that_were_not_tried(
    way: str, options: dict[str, int]
) -> None:
    found = pretending(way, **options)
    assert found.exact and len(found.trials) == 1
    assert found.notes == (
        "by itself the script saved at the end of an epoch, at step 4: a resume from there was not tried; "
        "--save-at 4 tries one",
    )


@pytest.mark.parametrize(
    ("way", "why", "hint"),
    [
        ("new-run", "made a new run and did not resume", "--resume-with '--resume {run}'"),
        ("never-reads", "trained the same run from its beginning", "hook.resume()"),
        ("begins-anew", "read the checkpoint of step 3 and began at step 1", "hook.epoch"),
        ("blind", "the weights of the resumed training were never seen, only epoch, loss", "restore"),
    ],
)
@pytest.mark.usefixtures("nothing_left")
def test_a_training_that_does_not_resume_is_never_exact(way: str, why: str, hint: str) -> None:
    with pytest.raises(UsageError, match=why) as raised:
        pretending(way, save_at=3, kill_at=4)
    assert raised.value.hint is not None and hint in raised.value.hint


def test_a_script_that_fails_shows_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="the first start of the script failed, with exit code 1") as raised:
        selftest(script(tmp_path, "print('reading the data')\nraise SystemExit('no data there')"))
    assert raised.value.hint == "its last lines:\nreading the data\nno data there"


def test_a_script_without_a_hook_or_manager(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="made no step that could be seen, nor a run") as raised:
        selftest(script(tmp_path, "print(1)"))
    assert raised.value.hint is not None and "TrainingHook" in raised.value.hint


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(OperationError, match="cannot be started"):
        selftest(Command(argv=("/nowhere/python",), cwd=os.getcwd()))


def test_one_step_is_not_enough() -> None:
    with pytest.raises(UsageError, match="has to be 2 or more"):
        selftest(of_script(__file__), steps=1)
