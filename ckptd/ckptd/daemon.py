"""The daemon: what belongs together, in which order it starts and ends, and what signals do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ckpt import files, protocol
from ckpt.encoding import path_fields, printable
from ckpt.exceptions import CkptError
from ckpt.paths import StatePaths, config_home, socket_path
from ckptd import parts, reloading
from ckptd.catalog.renewal import renew
from ckptd.config import file as config_file
from ckptd.config.check import runs_json
from ckptd.config.values import Config, Limits
from ckptd.process import courtesy, lifecycle, memory
from ckptd.process.notify import Notify
from ckptd.rounds import Rhythm, Rounds
from ckptd.serving.api import Activity, Api
from ckptd.serving.server import Server
from ckptd.watching.coverage import Coverage
from ckptd.watching.watcher import Dirt, Watcher

log = logging.getLogger("ckptd")


class Daemon:
    """One daemon's life. `run` returns the exit code."""

    def __init__(self, *, watch: Sequence[str] = (), idle_exit: bool = False) -> None:
        self._watch = [os.path.realpath(os.path.expanduser(path)) for path in watch]
        self._idle_exit = idle_exit
        self._started = time.time()
        self._state = StatePaths.here()
        self._socket = socket_path()
        self._config_home = config_home()
        self._config: Config = config_file.load(self._config_home)
        self._rhythm = Rhythm.from_environment()
        self._notify = Notify()
        self._activity = Activity()
        self._problems: list[str] = []
        self._reloaded: dict[str, Any] | None = None
        self._reloading = threading.Lock()

    def run(self) -> int:
        """Serves until a signal or a stop request. Raises CkptError when it cannot start."""
        memory.share_arenas()
        lock = lifecycle.take_lock(self._state, self._socket)
        try:
            for directory in (self._state.directory, self._state.catalog):
                # What a killed daemon was writing.
                files.sweep_temporaries(directory, older_than_s=0.0)
            self._parts = parts.writing(self._state)
            self._problems += [f"{name} in the catalog was moved aside" for name in self._parts.catalog.load()]
            self._problems += self._parts.configure(self._config, self._watch)
            self._problems += courtesy.be_courteous()
            courtesy.raise_descriptor_limit()
            for problem in self._problems:
                log.warning("%s", problem)
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

    async def _serve(self, listener: Any) -> int:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._catch_strays()
        scanner, announced = self._parts.scanner, self._state.announced
        announced.mkdir(mode=0o700, parents=True, exist_ok=True)
        dirt = Dirt(lambda: self._later(self._rounds.dirt_came))
        self._watcher = Watcher(dirt, self._state.directory / "beat")
        self._coverage = Coverage(self._parts.roots, scanner, self._watcher, announced)
        self._rounds = Rounds(
            self._parts,
            watcher=self._watcher,
            coverage=self._coverage,
            config=lambda: self._config,
            activity=self._activity,
            notify=self._notify,
            announced=str(announced),
            rhythm=self._rhythm,
            end=self._end,
        )
        service = self._parts.service(
            self._describe,
            watch=self._coverage.refresh,
            stop=lambda: self._later(self._end),
            reload=self.reload,
            foretell=self.foretell,
            rebuild=lambda: renew(scanner, self._parts.catalog, self._parts.journal, self._state),
        )
        self._handle_signals()
        api = Api(service, self._parts.events, self._activity, ready=self._rounds.ready, ending=self._ending)
        server = Server(api.app(), self._ending)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        serving.add_done_callback(lambda _: self._end())
        # Watches exist before the first look, so that nothing falls between the two.
        await asyncio.to_thread(self._watcher.start)
        await asyncio.to_thread(self._coverage.refresh)
        self._parts.events.emit("daemon.started", pid=os.getpid(), version=lifecycle.version())
        self._rounds.start(dirt, idle_exit=self._idle_exit)
        log.info("serving on %s (process %d)", self._socket, os.getpid())
        await self._ending.wait()
        self._notify.stopping()
        scanner.stop()
        await self._rounds.stop()
        await asyncio.to_thread(self._parts.keeper.stop)
        await serving
        await asyncio.to_thread(self._watcher.close)
        await asyncio.to_thread(self._rounds.flush)
        self._parts.journal.close()
        log.info("ended")
        return 0

    def reload(self) -> dict[str, Any]:
        """Takes config.toml anew, and has everything looked at soon; says what changed.

        Nothing is removed by it: what the new policies remove beyond the old ones waits. Raises UsageError for a file
        that is not understood: then everything stays as it was.
        """
        with self._reloading:
            try:
                config = config_file.load(self._config_home)
            except CkptError as error:
                self._problems = [p for p in self._problems if not p.startswith("config.toml was not taken")]
                self._problems.append(f"config.toml was not taken: {error.message}")
                raise
            self._config = config
            changed, warnings, self._problems = reloading.take(self._parts, config, self._watch)
            self._coverage.refresh()
            for sentence in changed or ["nothing changed"]:
                log.info("config.toml was taken anew: %s", printable(sentence))
            self._reloaded = {"at": time.time(), "changed": changed}
            self._parts.events.emit("config.reloaded", changed=changed)
            self._later(self._rounds.look_soon)
            return {"changed": changed, "warnings": warnings, "problems": list(self._problems)}

    def foretell(self) -> dict[str, Any]:
        """What `reload` would say, with nothing changed. Raises UsageError as that does."""
        told = reloading.foretell(self._parts, config_file.load(self._config_home))
        return {"changed": told.changed, "warnings": told.warnings}

    # Status

    def _describe(self) -> dict[str, Any]:
        counts, watcher, config = self._parts.scanner.counts, self._watcher, self._config
        outside = [v.run for v in self._parts.catalog.all() if self._parts.roots.holder(v.run.path) is None]
        return {
            "pid": os.getpid(),
            "version": lifecycle.version(),
            "protocol": protocol.PROTOCOL,
            "uptime_s": time.time() - self._started,
            "started": self._started,
            "now": time.time(),
            "socket": str(self._socket),
            "state_directory": str(self._state.directory),
            "log": str(self._state.log),
            "rss": _rss(),
            "cpu_s": time.process_time(),
            "ready": self._rounds.ready.is_set(),
            "seq": self._parts.events.seq,
            "idle_s": self._activity.idle_s(),
            "idle_exit_s": config.idle_exit_s if self._idle_exit else None,
            "config": {
                **path_fields(str(self._config_home / "config.toml")),
                "rescan_s": config.rescan_s,
                "poll_s": config.poll_s,
                "idle_exit_s": config.idle_exit_s,
                "exclude": list(config.exclude),
                "from_environment": list(config.from_environment),
                "policy": config.policy,
                "runs": runs_json(config),
                "limits": {name: getattr(config.limits, name) for name in Limits.__struct_fields__},
                "warn_before": config.warn_before,
            },
            "reloaded": self._reloaded,
            "announced": {
                "runs": len(outside),
                "checkpoints": sum(run.checkpoints for run in outside),
                "bytes": sum(run.bytes for run in outside),
            },
            "watcher": {
                "state": watcher.state,
                "overflows": watcher.overflows,
                "restarts": watcher.restarts,
                "blind": len(watcher.blind),
                "watches": watcher.watches,
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
        self._loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)
        for name in ("SIGPIPE", "SIGIO"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)

    def _asked_to_end(self) -> None:
        if self._ending.is_set():
            # The second time somebody means it. Whatever is half done is finished at the next start.
            with contextlib.suppress(OSError):
                self._socket.unlink()
            os._exit(0)
        self._end()

    def _asked_to_reload(self) -> None:
        def reload() -> None:
            self._notify.reloading()
            try:
                self.reload()
            except CkptError as error:
                log.error("config.toml is not taken: %s", error)
            finally:
                self._notify.ready()

        self._loop.run_in_executor(None, reload)

    def _catch_strays(self) -> None:
        """Errors that nobody waits for are counted and logged, never swallowed."""
        failed = self._parts.scanner.failed

        def in_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            failed("in the event loop", context.get("exception") or RuntimeError(context.get("message")))

        def in_thread(arguments: threading.ExceptHookArgs) -> None:
            failed(f"in thread {arguments.thread}", arguments.exc_value or RuntimeError("unknown"))

        self._loop.set_exception_handler(in_loop)
        threading.excepthook = in_thread


def _rss() -> int | None:
    """Resident memory in bytes now; its peak where the system tells no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
