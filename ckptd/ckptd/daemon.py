"""The daemon: what belongs together, in which order it starts and ends, and what it does when."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from ckpt import protocol
from ckpt.exceptions import CkptError
from ckpt.paths import StatePaths, config_home, socket_path
from ckptd import config as config_module
from ckptd import lifecycle
from ckptd.api import Activity, Api
from ckptd.catalog import Catalog
from ckptd.config import Config
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeper import Keeper
from ckptd.marking import Marking
from ckptd.roots import Roots
from ckptd.scanner import Scanner
from ckptd.server import Server
from ckptd.service import Service
from ckptd.undo import Undo
from ckptd.watcher import Dirt, Watcher

log = logging.getLogger("ckptd")
SETTLE_S = 0.1
SETTLE_MAX_S = 1.0
FLUSH_S = 1.0
TRAINING_S = 0.5
UNSETTLED_S = 2.0
BEAT_S = 30.0
_NICENESS = 5


class Daemon:
    """One daemon's life. `run` returns the exit code."""

    def __init__(self, *, watch: Sequence[str] = (), idle_exit: bool = False) -> None:
        self._watch = [os.path.realpath(os.path.expanduser(path)) for path in watch]
        self._idle_exit = idle_exit
        self._started = time.time()
        self._state = StatePaths.here()
        self._socket = socket_path()
        self._config: Config = config_module.load(config_home())
        self._problems: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> int:
        """Serves until a signal or a stop request. Raises CkptError when it cannot start."""
        lock = lifecycle.take_lock(self._state, self._socket)
        try:
            self._build()
            listener = lifecycle.bind(self._socket)
            try:
                return asyncio.run(self._serve(listener))
            finally:
                listener.close()
                with contextlib.suppress(OSError):
                    self._socket.unlink()
        finally:
            # The lock goes last: until then nobody else may touch socket or catalog.
            lock.release()

    def _build(self) -> None:
        self._journal = Journal(self._state.journal)
        self.events = Events(self._journal)
        self.catalog = Catalog(self._state.catalog)
        self._problems += [f"{name} in the catalog was moved aside" for name in self.catalog.load()]
        self.roots = Roots(self._state.roots)
        self._problems += self.roots.load(self._config.roots, self._watch)
        self.scanner = Scanner(self.roots, self.catalog, self.events, self._state)
        self.keeper = Keeper(self.catalog, self.scanner, self.events, self._journal)
        marking = Marking(self.scanner, self.events, self._journal, self._state)
        undo = Undo(self.catalog, self._journal, self.keeper, marking)
        self.activity = Activity()
        self.service = Service(
            self.catalog,
            self.roots,
            self.scanner,
            self.keeper,
            marking,
            undo,
            self.events,
            daemon=self._describe,
            watch=self._watch_all,
            stop=lambda: self._later(self._end),
        )
        for problem in self._problems:
            log.warning("%s", problem)

    async def _serve(self, listener: Any) -> int:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._ready = asyncio.Event()
        self._dirty = asyncio.Event()
        self._look = asyncio.Event()
        self._looking = asyncio.Lock()
        self._catch_strays()
        self._dirt = Dirt(lambda: self._later(self._dirty.set))
        self._watcher = Watcher(self._dirt, self._state.directory / "beat")
        self._state.announced.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handle_signals()
        _be_nice()
        api = Api(self.service, self.events, self.activity, ready=self._ready, ending=self._ending)
        server = Server(api.app(), self._ending)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        serving.add_done_callback(lambda _: self._end())
        # Watches exist before the first look, so that nothing falls between the two.
        await asyncio.to_thread(self._start_watching)
        self.events.emit("daemon.started", pid=os.getpid(), version=lifecycle.version())
        for name, work in (
            ("looking", self._keep_looking),
            ("following", self._follow_dirt),
            ("training", self._follow_training),
            ("flushing", self._keep_flushing),
            ("beat", self._keep_beating),
            ("idle", self._end_when_idle),
        ):
            self._spawn(name, work)
        log.info("serving on %s (process %d)", self._socket, os.getpid())
        await self._ending.wait()
        self.scanner.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.keeper.stop)
        await serving
        await asyncio.to_thread(self._watcher.close)
        await asyncio.to_thread(self._flush)
        self._journal.close()
        log.info("ended")
        return 0

    # What goes on

    async def _keep_looking(self) -> None:
        """The full look: at the start, then periodically, and at once when asked for."""
        while True:
            self._look.clear()
            async with self._looking:
                await asyncio.to_thread(self.scanner.full)
                self._ready.set()
                await asyncio.to_thread(self._after_full)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), self._config.rescan_s)

    def _after_full(self) -> None:
        for watched in self.roots.all():
            watched.sample(time.time())
        self._watch_all()
        if self._watcher.blind:
            self._watcher.fill()
        self.keeper.sweep([view.run.id for view in self.catalog.all()])
        self.keeper.purge_due()

    async def _follow_dirt(self) -> None:
        """Looks at what changed, once it has been quiet for a moment, or has not been for long."""
        while True:
            await self._dirty.wait()
            deadline = time.monotonic() + SETTLE_MAX_S
            while self._dirty.is_set() and time.monotonic() < deadline:
                self._dirty.clear()
                await asyncio.sleep(SETTLE_S)
            self._dirty.clear()
            directories, everything = self._dirt.take()
            await self._ready.wait()
            async with self._looking:
                if everything:
                    await asyncio.to_thread(self._watcher.fill)
                    read = await asyncio.to_thread(self.scanner.full)
                else:
                    announced = str(self._state.announced)
                    if directories.pop(announced, None) is not None:
                        self._look.set()
                    read = await asyncio.to_thread(self.scanner.dirty, directories)
                await asyncio.to_thread(self.keeper.sweep, read)

    async def _follow_training(self) -> None:
        """The states of running trainings, and files that are being written."""
        await self._ready.wait()
        ticks = 0
        while True:
            await asyncio.sleep(TRAINING_S)
            ticks += 1
            if self._anyone_trains():
                read = await asyncio.to_thread(self.scanner.poll_training)
                await asyncio.to_thread(self.keeper.sweep, read)
            if ticks % int(UNSETTLED_S / TRAINING_S) == 0:
                for directory in self.scanner.unsettled():
                    await asyncio.to_thread(self.scanner.read, directory)

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            if self.catalog.waiting:
                await asyncio.to_thread(self._flush)

    async def _keep_beating(self) -> None:
        """Proves that events still come through; else starts the watcher anew and looks at everything."""
        missed = 0
        while True:
            await asyncio.sleep(BEAT_S)
            missed = 0 if await asyncio.to_thread(self._watcher.beat) else missed + 1
            if missed >= 2:
                missed = 0
                log.warning("no events come through; the watcher is started anew")
                await asyncio.to_thread(self._watcher.restart)
                self._look.set()

    async def _end_when_idle(self) -> None:
        limit = self._config.idle_exit_s
        while self._idle_exit:
            await asyncio.sleep(min(5.0, limit / 4))
            if self.activity.idle_s() >= limit and not self._anyone_trains():
                log.info("idle for %g s", limit)
                self._end()
                return

    def _anyone_trains(self) -> bool:
        return any(view.run.own and view.run.status in ("training", "stalled") for view in self.catalog.all())

    def _flush(self) -> None:
        try:
            self.catalog.flush()
        except OSError as error:
            self.scanner.failed("the catalog cannot be written", error)

    # Watching

    def _start_watching(self) -> None:
        self._watcher.start()
        self._watch_all()

    def _watch_all(self, renewed: str | None = None) -> None:
        """Watches the roots, the announcements, and trainings outside all roots; `renewed` is watched anew."""
        if renewed is not None:
            self._watcher.again(renewed)
        wanted = {watched.root.path for watched in self.roots.all() if watched.state != "degraded"}
        wanted |= {str(path) for path in self.scanner.training_outside()}
        wanted.add(str(self._state.announced))
        self._watcher.watch(wanted)
        blind = self._watcher.blind
        for watched in self.roots.all():
            if watched.state == "degraded":
                continue
            base = watched.root.path
            lost = self._watcher.state == "polling" or any(p == base or p.startswith(base + "/") for p in blind)
            watched.state = "polling" if lost else "ok"
            watched.problem = "changes below it are only seen by the periodic look" if lost else None

    # Status

    def _describe(self) -> dict[str, Any]:
        counts = self.scanner.counts
        return {
            "pid": os.getpid(),
            "version": lifecycle.version(),
            "protocol": protocol.PROTOCOL,
            "uptime_s": time.time() - self._started,
            "started": self._started,
            "socket": str(self._socket),
            "state_directory": str(self._state.directory),
            "log": str(self._state.log),
            "rss": _rss(),
            "cpu_s": time.process_time(),
            "ready": self._ready.is_set(),
            "seq": self.events.seq,
            "idle_s": self.activity.idle_s(),
            "idle_exit_s": self._config.idle_exit_s if self._idle_exit else None,
            "watcher": {
                "state": self._watcher.state,
                "overflows": self._watcher.overflows,
                "restarts": self._watcher.restarts,
                "blind": len(self._watcher.blind),
            },
            "looks": {"full": counts.full, "partial": counts.partial, "last_full_s": counts.last_full_s},
            "errors": counts.errors,
            "last_error": counts.last_error,
            "problems": list(self._problems),
        }

    # Life and death

    def _later(self, act: Callable[[], Any]) -> None:
        """Does something in the loop, from any thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act)

    def _end(self) -> None:
        self._ending.set()

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._asked_to_end)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        for name in ("SIGPIPE", "SIGIO"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)

    def _asked_to_end(self) -> None:
        if self._ending.is_set():
            # The second time somebody means it. Whatever is half done is finished at the next start.
            with contextlib.suppress(OSError):
                self._socket.unlink()
            os._exit(0)
        self._end()

    def _reload(self) -> None:
        """Takes config.toml anew and looks at everything; a config that is wrong changes nothing."""
        try:
            config = config_module.load(config_home())
        except CkptError as error:
            self._problems.append(f"config.toml was not taken: {error.message}")
            log.error("config.toml is not taken: %s", error)
        else:
            self._config = config
            self._problems = self.roots.load(config.roots, self._watch)
            log.info("config.toml was taken anew")
        self._look.set()

    def _spawn(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        async def lasting() -> None:
            while not self._ending.is_set():
                try:
                    await work()
                    return
                except asyncio.CancelledError:
                    raise
                except Exception as error:  # noqa: BLE001  a task that fails is started again
                    self.scanner.failed(name, error)
                    await asyncio.sleep(1.0)

        self._tasks.add(asyncio.create_task(lasting(), name=name))

    def _catch_strays(self) -> None:
        """Errors that nobody waits for are counted and logged, never swallowed."""

        def in_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception") or RuntimeError(context.get("message"))
            self.scanner.failed("in the event loop", error)

        def in_thread(arguments: threading.ExceptHookArgs) -> None:
            self.scanner.failed(f"in thread {arguments.thread}", arguments.exc_value or RuntimeError("unknown"))

        self._loop.set_exception_handler(in_loop)
        threading.excepthook = in_thread


def _be_nice() -> None:
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) < _NICENESS:
            os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)


def _rss() -> int | None:
    """Resident memory in bytes now; its peak where the system tells no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
