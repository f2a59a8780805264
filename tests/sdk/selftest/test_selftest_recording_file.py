"""A recording: written line by line, read as far as it goes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ckpt.selftest.recording_file import Event, Step, encode, read


def step(number: int, **metrics: str) -> Step:
    return Step(step=number, epoch=0.5, parts={"metrics": metrics}, batches=[{"0": "x"}])


def test_a_recording_that_a_kill_cut_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    lines = [Event(what="began"), Event(what="read", step=3), step(4), Event(what="saved", step=4), step(5)]
    path.write_bytes(b"".join(map(encode, lines)) + b'{"kind":"step","st')
    found = read(path)
    assert list(found.steps) == [4, 5] and found.steps[4] == step(4)
    assert (found.went_on_from, found.of("saved"), found.last, found.has("killed")) == (3, [4], 5, False)


def test_a_recording_that_was_never_made_is_empty(tmp_path: Path) -> None:
    found = read(tmp_path / "nothing")
    assert (found.last, found.went_on_from, found.steps, found.events) == (None, None, {}, ())


def test_what_is_told_again_of_a_step_does_not_take_its_place(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"".join(map(encode, [step(4), step(4, val="1"), step(4, val="2"), step(5)])))
    found = read(tmp_path / "r")
    assert found.at(4) == (step(4), step(4, val="1"), step(4, val="2")) and found.steps[4] == step(4)
    assert found.at(5) == (step(5),) and found.at(6) == ()


def test_a_checkpoint_that_is_read_in_mid_training_is_not_where_it_went_on(tmp_path: Path) -> None:
    lines = [Event(what="read", step=2), Event(what="read", step=3), step(4), Event(what="read", step=1)]
    (tmp_path / "r").write_bytes(b"".join(map(encode, lines)))
    assert read(tmp_path / "r").went_on_from == 3


def test_a_line_that_is_none_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b'{"kind":"other"}\n')
    with pytest.raises(msgspec.ValidationError):
        read(tmp_path / "r")
