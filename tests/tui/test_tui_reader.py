"""The reading thread: newest wish first, bursts answered together, loss and return told once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ckpt.exceptions import NoDaemonError
from ckpt_tui.dashboard import reader as reader_module
from ckpt_tui.dashboard.feeds.scripted import ScriptedFeed, showcase
from ckpt_tui.dashboard.messages import CurvesRead, FeedBack, FeedLost, RunRead, RunsRead
from ckpt_tui.dashboard.reader import Reader

Post = list[Any]


@pytest.fixture
def feed() -> ScriptedFeed:
    return showcase(time.time(), runs=3, checkpoints=4)


@pytest.fixture
def posted() -> Post:
    return []


@pytest.fixture
def reader(feed: ScriptedFeed, posted: Post, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.setattr(reader_module, "PING_S", 0.1)
    made = Reader(feed, posted.append)
    made.start()
    yield made
    made.stop()


def test_a_watched_run_comes_with_its_curves_and_again_when_it_changes(
    reader: Reader, feed: ScriptedFeed, posted: Post, eventually: Callable[..., Any]
) -> None:
    run_id = feed.runs()[0].id
    reader.watch(run_id)
    eventually(lambda: [type(m) for m in posted] == [RunRead, CurvesRead])
    assert len(posted[0].words) == len(posted[0].detail.checkpoints) == 4
    posted.clear()
    feed.put(feed.details[run_id])
    eventually(lambda: {type(m) for m in posted} == {RunsRead, RunRead, CurvesRead})


def test_a_burst_is_answered_a_few_times_only(
    reader: Reader, feed: ScriptedFeed, posted: Post, eventually: Callable[..., Any]
) -> None:
    detail = feed.details[feed.runs()[0].id]
    started = time.monotonic()
    for _ in range(400):
        feed.put(detail)
    eventually(lambda: feed._changes.empty() and any(isinstance(m, RunsRead) for m in posted))
    time.sleep(0.15)
    allowed = (time.monotonic() - started) / reader_module.PACE_S + 2
    assert 1 <= sum(isinstance(m, RunsRead) for m in posted) <= allowed


def test_loss_and_return_are_told_once(
    reader: Reader, feed: ScriptedFeed, posted: Post, eventually: Callable[..., Any]
) -> None:
    feed.lost = NoDaemonError("the daemon is gone")
    eventually(lambda: any(isinstance(m, FeedLost) for m in posted))
    time.sleep(0.3)
    feed.lost = None
    eventually(lambda: any(isinstance(m, RunsRead) for m in posted))
    assert [type(m) for m in posted if isinstance(m, FeedLost | FeedBack)] == [FeedLost, FeedBack]
