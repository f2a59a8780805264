"""What the daemon does again and again, each thing in a task of its own.

looking    the full look: at the start, then periodically, and at once when asked for
following  a look at what events marked dirty, once it has been quiet for a moment
polling    a look every few seconds at what no event tells of
training   the states of running trainings, and files that are being written
flushing   the catalog's files
measuring  what is free on the disks; whether one fills, so that the trash has to make room
planning   plans that the passing of time alone changes, from what is known; the disk is not looked at
beating    proof that events come through; the watcher is started anew when they do not
idling     the end of a daemon that nobody needs
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields

from ckpt.exceptions import UsageError
from ckptd.config.values import Config
from ckptd.parts import Parts
from ckptd.process.notify import Notify
from ckptd.serving.api import Activity
from ckptd.watching.coverage import Coverage
from ckptd.watching.watcher import Dirt, Watcher

log = logging.getLogger("ckptd.rounds")
_COURTESY = 20.0
"""A round that took long waits this many times as long before the next: at most a twentieth of one core."""
_REST = 4.0
_REST_MAX_S = 5.0
_SHORT_S = 0.1
"""After a look at what was dirty: four times as long as it took beyond what is short, so that one huge directory that
changes all the time takes about a fifth of a core."""


@dataclass(frozen=True)
class Rhythm:
    """Seconds of what is not in config.toml; each can be set by CKPTD_ and its name in capitals."""

    settle_s: float = 0.1
    """Quiet that a dirty directory needs before it is looked at …"""
    settle_max_s: float = 1.0
    """… and how long it is waited for."""
    flush_s: float = 1.0
    training_s: float = 0.5
    unsettled_s: float = 2.0
    measure_s: float = 10.0
    plan_s: float = 5.0
    beat_s: float = 30.0
    beat_wait_s: float = 5.0

    @classmethod
    def from_environment(cls) -> Rhythm:
        """The usual one with what the environment changes. Raises UsageError for what is no number."""
        changed: dict[str, float] = {}
        for field in fields(cls):
            name = f"CKPTD_{field.name.upper()}"
            text = os.environ.get(name)
            if text:
                try:
                    changed[field.name] = max(0.01, float(text))
                except ValueError:
                    raise UsageError(f"{name} is a number of seconds, not '{text}'") from None
        return cls(**changed)


class Rounds:
    """The tasks, from `start` until `stop`. `config` gives the config that holds now."""

    def __init__(
        self,
        parts: Parts,
        *,
        watcher: Watcher,
        coverage: Coverage,
        config: Callable[[], Config],
        activity: Activity,
        notify: Notify,
        announced: str,
        rhythm: Rhythm,
        end: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._watcher = watcher
        self._coverage = coverage
        self._config = config
        self._activity = activity
        self._notify = notify
        self._announced = announced
        self._rhythm = rhythm
        self._end = end
        self._tasks: set[asyncio.Task[None]] = set()
        self._look = asyncio.Event()
        self._looking = asyncio.Lock()
        self._dirty = asyncio.Event()
        self.ready = asyncio.Event()
        """Set when the first full look is done."""

    def start(self, dirt: Dirt, *, idle_exit: bool) -> None:
        """Starts all tasks."""
        self._dirt = dirt
        for name, work in (
            ("looking", self._keep_looking),
            ("following", self._follow_dirt),
            ("polling", self._keep_polling),
            ("training", self._follow_training),
            ("flushing", self._keep_flushing),
            ("measuring", self._keep_measuring),
            ("planning", self._keep_planning),
            ("beating", self._keep_beating),
        ):
            self._spawn(name, work)
        if idle_exit:
            self._spawn("idling", self._end_when_idle)

    async def stop(self) -> None:
        """Ends all tasks; what they are in the middle of is finished by its thread."""
        while unfinished := [task for task in self._tasks if not task.done()]:
            # More than once: asyncio.wait_for of Python 3.11 drops a cancel that comes when its wait has just ended.
            for task in unfinished:
                task.cancel()
            await asyncio.wait(unfinished, timeout=0.1)

    def look_soon(self) -> None:
        """Asks for a full look now. Call it in the loop."""
        self._look.set()

    def dirt_came(self) -> None:
        """Tells that something is dirty. Call it in the loop."""
        self._dirty.set()

    async def _keep_looking(self) -> None:
        while True:
            self._look.clear()
            began = time.monotonic()
            async with self._looking:
                if not self.ready.is_set():
                    self._notify.extend(600.0)
                await asyncio.to_thread(self._parts.scanner.full)
                if not self.ready.is_set():
                    self.ready.set()
                    self._notify.ready()
                await asyncio.to_thread(self._after_full)
            took = time.monotonic() - began
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), max(self._config().rescan_s, _COURTESY * took))

    def _after_full(self) -> None:
        parts = self._parts
        self._coverage.refresh()
        views = parts.catalog.all()
        parts.keeper.sweep([view.run.id for view in views])
        parts.keeper.purge_due()
        checkpoints = sum(len(view.checkpoints) for view in views)
        self._notify.status(f"{len(parts.roots.all())} roots, {len(views)} runs, {checkpoints} checkpoints")

    async def _follow_dirt(self) -> None:
        while True:
            await self._dirty.wait()
            deadline = time.monotonic() + self._rhythm.settle_max_s
            while self._dirty.is_set() and time.monotonic() < deadline:
                self._dirty.clear()
                await asyncio.sleep(self._rhythm.settle_s)
            self._dirty.clear()
            directories, everything = self._dirt.take()
            await self.ready.wait()
            async with self._looking:
                began = time.monotonic()
                try:
                    if everything:
                        await asyncio.to_thread(self._watcher.fill)
                        read = await asyncio.to_thread(self._parts.scanner.full)
                    else:
                        if directories.pop(self._announced, None) is not None:
                            self._look.set()
                        read = await asyncio.to_thread(self._parts.scanner.dirty, directories)
                except Exception:
                    # No event will tell of them again.
                    self._dirt.all()
                    raise
                await asyncio.to_thread(self._parts.keeper.sweep, read)
            # One huge directory in which something happens all the time must not take a core.
            await asyncio.sleep(min(_REST_MAX_S, _REST * max(0.0, time.monotonic() - began - _SHORT_S)))

    async def _keep_polling(self) -> None:
        await self.ready.wait()
        took = 0.0
        while True:
            await asyncio.sleep(max(self._config().poll_s, _COURTESY * took))
            began = time.monotonic()
            async with self._looking:
                # A root that is not believed is asked again: its disk may be back.
                for watched in self._coverage.polled():
                    read = await asyncio.to_thread(self._parts.scanner.look, watched)
                    await asyncio.to_thread(self._parts.keeper.sweep, read)
                await asyncio.to_thread(self._watcher.poll)
            took = time.monotonic() - began

    async def _follow_training(self) -> None:
        await self.ready.wait()
        every = max(1, int(self._rhythm.unsettled_s / self._rhythm.training_s))
        ticks = 0
        while True:
            await asyncio.sleep(self._rhythm.training_s)
            ticks += 1
            if any(view.run.status in ("training", "stalled") for view in self._parts.catalog.all()):
                read = await asyncio.to_thread(self._parts.scanner.poll_training)
                await asyncio.to_thread(self._parts.keeper.sweep, read)
            if ticks % every == 0:
                for directory in self._parts.scanner.unsettled():
                    await asyncio.to_thread(self._parts.scanner.read, directory)

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(self._rhythm.flush_s)
            if self._parts.catalog.waiting:
                await asyncio.to_thread(self.flush, due=True)

    def flush(self, *, due: bool = False) -> None:
        """Writes what changed in the catalog; a failure is told and tried again."""
        try:
            self._parts.catalog.flush(due=due)
        except OSError as error:
            self._parts.scanner.failed("the catalog cannot be written", error)

    async def _keep_planning(self) -> None:
        await self.ready.wait()
        took = 0.0
        while True:
            await asyncio.sleep(max(self._rhythm.plan_s, _COURTESY * took))
            began = time.monotonic()
            changed = await asyncio.to_thread(self._parts.scanner.govern_due)
            if changed:
                await asyncio.to_thread(self._parts.keeper.sweep, changed)
            took = time.monotonic() - began

    async def _keep_measuring(self) -> None:
        await self.ready.wait()
        while True:
            await asyncio.to_thread(self._measure)
            await asyncio.sleep(self._rhythm.measure_s)

    def _measure(self) -> None:
        parts = self._parts
        roots = [watched.root.path for watched in parts.roots.all()]
        if parts.space.look(roots, parts.catalog.all(), time.time()):
            parts.keeper.make_room()

    async def _keep_beating(self) -> None:
        missed = 0
        while True:
            await asyncio.sleep(min(self._rhythm.beat_s, self._notify.interval_s or self._rhythm.beat_s))
            heard = await asyncio.to_thread(self._watcher.beat, self._rhythm.beat_wait_s)
            missed = 0 if heard else missed + 1
            if missed >= 2:
                missed = 0
                log.warning("no events come through; the watcher is started anew")
                await asyncio.to_thread(self._watcher.restart)
                self._look.set()
            # That this line is reached proves the loop and its threads; what the watcher misses is looked at.
            self._notify.watchdog()

    async def _end_when_idle(self) -> None:
        while True:
            limit = self._config().idle_exit_s
            await asyncio.sleep(min(5.0, limit / 4))
            if self._activity.idle_s() >= limit and not self._anyone_trains():
                log.info("idle for %g s", limit)
                self._end()
                return

    def _anyone_trains(self) -> bool:
        return any(view.run.own and view.run.status in ("training", "stalled") for view in self._parts.catalog.all())

    def _spawn(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        async def lasting() -> None:
            while True:
                try:
                    await work()
                    return
                except asyncio.CancelledError:
                    raise
                except Exception as error:  # noqa: BLE001  a task that fails is started again
                    self._parts.scanner.failed(name, error)
                    await asyncio.sleep(1.0)

        self._tasks.add(asyncio.create_task(lasting(), name=name))
