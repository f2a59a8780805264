"""A loop left by `break` ends its epoch; one left by an exception is under way while that is handled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ckpt.loaders import LoaderSchedule, ResumableLoader


def through(batches: Iterable[Any]) -> Iterator[Any]:
    yield from batches


def by_hand(batches: Iterable[Any]) -> Iterator[Any]:
    for batch in batches:
        yield [batch]


def numbered(batches: Iterable[Any]) -> Iterator[Any]:
    return (batch for _, batch in enumerate(batches))


def loader() -> Any:
    return ResumableLoader(list(range(10)), batch_size=2)


def schedule() -> Any:
    return LoaderSchedule({"a": loader()}, "sequential")


MAKERS = pytest.mark.parametrize("make", [loader, schedule])
WRAPPERS = pytest.mark.parametrize("wrapped", [iter, through, by_hand, numbered])


class Saves:
    """Asks for the state where a training's exception leaves its block."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.told: dict[str, Any] = {}

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> bool:
        self.told = self.loader.state_dict()
        return True


@MAKERS
@WRAPPERS
def test_an_exception_finds_the_epoch_under_way(make: Callable[[], Any], wrapped: Any) -> None:
    data = make()
    saves = Saves(data)
    with saves:
        for number, _ in enumerate(wrapped(data)):
            if number == 2:
                raise ValueError
    assert (saves.told["epoch_open"], saves.told["batch_idx"], saves.told["epoch"]) == (True, 3, 0)


@MAKERS
@WRAPPERS
def test_a_break_ends_the_epoch(make: Callable[[], Any], wrapped: Any) -> None:
    data = make()
    for _ in wrapped(data):
        break
    assert (data.state_dict()["epoch_open"], data.epoch) == (False, 1)


@MAKERS
@WRAPPERS
def test_an_exception_behind_a_break_finds_the_epoch_over(make: Callable[[], Any], wrapped: Any) -> None:
    data = make()
    saves = Saves(data)
    with saves:
        for _ in wrapped(data):
            break
        raise ValueError
    assert saves.told["epoch_open"] is False


@MAKERS
def test_an_exception_of_a_function_that_trains(make: Callable[[], Any]) -> None:
    data = make()

    def train() -> None:
        for _ in data:
            raise ValueError

    try:
        train()
    except ValueError:
        assert data.state_dict()["epoch_open"] is True
    assert data.state_dict()["epoch_open"] is False
    assert sum(1 for _ in data) == 5


@MAKERS
@WRAPPERS
def test_an_exception_that_another_was_raised_from(make: Callable[[], Any], wrapped: Any) -> None:
    data = make()
    saves = Saves(data)
    with saves:
        try:
            for number, _ in enumerate(wrapped(data)):
                if number == 2:
                    raise ValueError
        except ValueError as error:
            try:
                raise KeyError("cleaning up")
            except KeyError:
                raise RuntimeError("the epoch failed") from error
    assert (saves.told["epoch_open"], saves.told["batch_idx"], saves.told["epoch"]) == (True, 3, 0)


@MAKERS
def test_an_exception_that_another_thread_handles(make: Callable[[], Any]) -> None:
    data = make()
    with ThreadPoolExecutor(1) as threads:
        try:
            for _ in data:
                raise ValueError
        except ValueError:
            assert threads.submit(data.state_dict).result()["epoch_open"] is True
            assert data.state_dict()["epoch_open"] is True
        assert threads.submit(data.state_dict).result()["epoch_open"] is False


LEFT_AT_EXIT = """
from ckpt.loaders import LoaderSchedule, ResumableLoader
loader = iter(ResumableLoader(list(range(10))))
schedule = iter(LoaderSchedule([ResumableLoader(list(range(10)))]))
next(loader), next(schedule)
"""


def test_an_iterator_that_lives_until_the_interpreter_ends() -> None:
    ended = subprocess.run([sys.executable, "-c", LEFT_AT_EXIT], capture_output=True, text=True, check=True)
    assert ended.stderr == ""


@MAKERS
def test_a_look_at_one_batch_behind_a_resume_is_warned_of(
    make: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    first = make()
    batches = iter(first)
    next(batches), next(batches)
    second = make()
    second.load_state_dict(first.state_dict())
    next(iter(second))
    assert (second.epoch, second.batch_idx) == (1, 0)
    assert "left at its first batch" in caplog.text
    caplog.clear()
    next(iter(second))
    assert second.epoch == 2
    assert "left at its first batch" not in caplog.text


@MAKERS
@pytest.mark.parametrize("long_first", [False, True])
@pytest.mark.parametrize("left", [0, 1])
def test_zip_behind_a_resume_leaves_what_it_did_not_come_to(
    make: Callable[[], Any], long_first: bool, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    def pairs(short: Any, long: Any) -> Iterator[Any]:
        return zip(long, short, strict=False) if long_first else zip(short, long, strict=False)

    def short() -> Any:
        return ResumableLoader(list(range(2 + left)), batch_size=1)

    whole = short(), make()
    first = pairs(*whole)
    next(first), next(first)
    resumed = short(), make()
    for loader, state in zip(resumed, [loader.state_dict() for loader in whole], strict=True):
        loader.load_state_dict(state)
    assert len(list(first)) == left
    del first
    assert len(list(pairs(*resumed))) == left
    assert [loader.epoch for loader in resumed] == [loader.epoch for loader in whole] == [1, 1]
    assert not caplog.records


@MAKERS
def test_an_iterator_that_is_not_asked_leaves_an_epoch_that_was_loaded_as_it_is(make: Callable[[], Any]) -> None:
    first = make()
    batches = iter(first)
    next(batches), next(batches)
    second = make()
    second.load_state_dict(first.state_dict())
    iter(second)
    assert (second.epoch, second.batch_idx) == (0, 2)
    assert len(list(second)) == 3


def test_a_schedule_whose_first_batch_is_an_error_begins_its_epoch_again() -> None:
    failing = [True]

    def collate(samples: list[int]) -> list[int]:
        if failing[0]:
            raise OSError("no such sample")
        return samples

    def loaders() -> Any:
        return {"a": ResumableLoader(list(range(6)), batch_size=2, shuffle=True, seed=1, collate_fn=collate)}

    schedule = LoaderSchedule(loaders(), "sequential")
    with pytest.raises(OSError):
        next(iter(schedule))
    failing[0] = False
    whole = list(LoaderSchedule(loaders(), "sequential"))
    batches = iter(schedule)
    assert [next(batches)] == whole[:1]
    resumed = LoaderSchedule(loaders(), "sequential")
    resumed.load_state_dict(schedule.state_dict())
    failing[0] = True
    with pytest.raises(OSError):
        next(iter(resumed))
    failing[0] = False
    assert list(resumed) == whole[1:]
    assert (schedule.epoch, resumed.epoch) == (0, 1)
