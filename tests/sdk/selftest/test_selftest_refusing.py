"""Why a self-test cannot say anything."""

from __future__ import annotations

import pytest

from ckpt.exceptions import UsageError
from ckpt.selftest.comparing import Comparison, Difference
from ckpt.selftest.refusing import failed, not_resumed, refuse_blind
from ckpt.selftest.starting import Ended


def test_a_failure_tells_how_and_its_last_lines() -> None:
    error = failed("first", Ended(code=3, tail="no data"))
    assert "with exit code 3" in error.message and error.hint == "its last lines:\nno data"
    assert "by signal 11" in failed("first", Ended(code=-11, tail="")).message


def test_a_file_that_was_looked_for_in_the_run_has_another_place() -> None:
    hint = failed("first", Ended(code=1, tail="FileNotFoundError: runs/exp1/notes.txt")).hint
    assert hint is not None and "hook.run.directory" in hint


def test_why_nothing_was_resumed() -> None:
    ended = Ended(code=0, tail="")
    assert "had further arguments" in not_resumed(True, True, ended).message
    assert "made a new run" in not_resumed(True, False, ended).message
    assert "from its beginning" in not_resumed(False, False, ended).message


def test_all_alike_without_the_weights_is_no_answer() -> None:
    with pytest.raises(UsageError, match="never seen, only loss"):
        refuse_blind(Comparison(compared=3, difference=None, parts=("loss",)))
    refuse_blind(Comparison(compared=3, difference=None, parts=("loss", "weights")))
    differs = Difference(step=1, what="loss", name="loss", reference="1", resumed="2", between="resume", after=0)
    refuse_blind(Comparison(compared=1, difference=differs, parts=("loss",)))
