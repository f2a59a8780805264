"""Real faults on the real daemon: its process, storms of writes beside it, mounts, and the comparison with a full look.

CKPTD_FAULT_ROUNDS says how often each random fault is tried (2 by default, `make faults` says more), and
CKPTD_FAULT_SEED where the random numbers start; a failure names its seed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.client import Client, daemon_note
from ckpt.exceptions import CkptError
from ckpt.paths import StatePaths, socket_path

ROUNDS = int(os.environ.get("CKPTD_FAULT_ROUNDS") or 2)
SEED = int(os.environ.get("CKPTD_FAULT_SEED") or 0) or int(time.time())
HERE = Path(__file__).parent
PATIENCE_S = 30.0
SELDOM_S = "3600"  # between two full looks: what is seen meanwhile was seen by an event


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take `turn` run once a round."""
    if "turn" in metafunc.fixturenames:
        metafunc.parametrize("turn", range(ROUNDS))


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of this test, its parameters and round; its seed is in the report of a failure."""
    given = dict(request.node.callspec.params) if hasattr(request.node, "callspec") else {}
    seed = SEED + given.pop("turn", 0)
    print(f"CKPTD_FAULT_SEED={seed}")
    told = " ".join(value for _, value in sorted(given.items()) if isinstance(value, str))
    return random.Random(f"{seed} {request.node.originalname} {told}")


Check = Callable[[], Any]


def wait_until(check: Check, seconds: float = PATIENCE_S) -> Any:
    """The first true answer of `check`; an answer that the daemon refuses counts as none."""
    deadline = time.monotonic() + seconds
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = check()
            if last:
                return last
        except (CkptError, OSError) as error:
            last = error
        time.sleep(0.02)
    raise AssertionError(f"it never came true within {seconds:g} s; the last answer was {last!r}")


@pytest.fixture
def until() -> Callable[..., Any]:
    """`wait_until`."""
    return wait_until


# The daemon


class Daemon:
    """A daemon as a process of ours. `wrap` is a command that executes it; `command` stands in the place of `ckptd`."""

    def __init__(
        self,
        said: Path,
        *arguments: str,
        wrap: tuple[str, ...] = (),
        command: tuple[str, ...] = (sys.executable, "-m", "ckptd"),
        **environment: str,
    ) -> None:
        self.said_in = said
        with open(said, "wb") as stream:
            self.process = subprocess.Popen(
                [*wrap, *command, "run", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={**os.environ, "CKPTD_RESCAN_S": SELDOM_S, **environment},
                cwd="/",
            )
        self.pid = self.process.pid

    def said(self) -> str:
        """Its log so far."""
        return self.said_in.read_text("utf-8", "replace")

    def wait_ready(self) -> Daemon:
        """Waits until its first look is over."""

        def ready() -> bool:
            assert self.process.poll() is None, self.said()
            return bool(self.get("/v1/status")["daemon"]["ready"])

        wait_until(ready)
        return self

    def client(self) -> Client:
        """A client of this daemon and of no other. Raises CkptError when it does not serve."""
        note = daemon_note() or {}
        if note.get("pid") != self.pid or not socket_path().exists():
            raise CkptError(f"the daemon {self.pid} does not serve: {note}")
        return Client("daemon")

    def get(self, page: str, /, **params: Any) -> Any:
        """A read over a connection of its own."""
        with self.client() as client:
            return client.get(page, **params)

    def post(self, page: str, /, **body: Any) -> Any:
        """A change over a connection of its own."""
        with self.client() as client:
            return client.post(page, body)

    def status(self) -> dict[str, Any]:
        """What `/v1/status` says of the daemon itself."""
        answer: dict[str, Any] = self.get("/v1/status")["daemon"]
        return answer

    def root(self) -> dict[str, Any]:
        """The state of its only root."""
        (answer,) = self.get("/v1/status")["roots"]
        found: dict[str, Any] = answer
        return found

    def runs(self) -> dict[str, int]:
        """Names of the runs, with how many checkpoints each has."""
        return {run["name"]: run["checkpoints"] for run in self.get("/v1/runs")["runs"]}

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """The remembered events of these kinds; all when none is named."""
        found = self.get("/v1/events", follow=0)["events"]
        return [event for event in found if not kinds or event["kind"] in kinds]

    def look(self) -> None:
        """What the periodic look would do, now, and waits for its end."""
        before = self.status()["looks"]["full"]
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.status()["looks"]["full"] > before)
        self.get("/v1/runs")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end:\n{self.said()[-3000:]}") from None


Start = Callable[..., Daemon]


@pytest.fixture
def start(tmp_path: Path, mounts: Mounts) -> Iterator[Start]:
    """Starts daemons: `start("--watch", root, wrap=…, ready=False, CKPTD_RESCAN_S="1")`."""
    started: list[Daemon] = []

    def make(*arguments: str, ready: bool = True, **options: Any) -> Daemon:
        said = tmp_path / f"said-{len(started)}.log"
        started.append(Daemon(said, *map(str, arguments), **options))
        return started[-1].wait_ready() if ready else started[-1]

    yield make
    for daemon in started:
        with contextlib.suppress(AssertionError):
            daemon.end(signal.SIGKILL)
        print(f"--- daemon {daemon.pid} said\n{daemon.said()[-4000:]}")


# What lies on disk


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of real torch files of different content, and `index.json` with their fingerprints."""
    import torch

    from ckpt.formats import inspect

    place = tmp_path_factory.mktemp("templates")
    index = []
    for number in range(6):
        path = place / f"{number}.pt"
        weights = {"fc.weight": torch.full((4, 3 + number), float(number)), "fc.bias": torch.arange(4.0)}
        torch.save({"format_version": 1, "model_state_dict": weights, "epoch": 1, "global_step": number}, path)
        index.append({"file": path.name, "fingerprint": inspect(path).fingerprint})
    (place / "index.json").write_text(json.dumps(index))
    return place


def write_weights(path: Path, step: int = 1, *, values: int = 8) -> Path:
    """A safetensors file, given its name at once, in a directory that is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = step.to_bytes(4, "little") * values
    header = json.dumps({"w": {"dtype": "I32", "shape": [values], "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


@pytest.fixture
def weights() -> Callable[..., Path]:
    """`write_weights`."""
    return write_weights


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty directory to watch."""
    path = tmp_path / "root"
    path.mkdir()
    return path


# Storms


class Storm:
    """A process that writes, rewrites, renames and deletes without end. `kind` is the script's name."""

    def __init__(self, kind: str, base: Path, templates: Path, seed: int, log: Path) -> None:
        self.log = log
        self.stream = open(log, "wb")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / f"{kind}.py"), str(base), str(templates), str(seed)],
            stdin=subprocess.DEVNULL,
            stdout=self.stream,
            stderr=self.stream,
        )

    def done(self) -> int:
        """How much it did so far."""
        assert self.process.poll() in (None, 0), self.log.read_text("utf-8", "replace")[-3000:]
        return self.log.read_bytes().count(b"\n")

    def wait(self, acts: int) -> None:
        """Waits until it did that much more."""
        goal = self.done() + acts
        wait_until(lambda: self.done() >= goal, 60.0)

    def end(self) -> None:
        """Lets it finish what it does; then nothing changes any more."""
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0, self.log.read_text("utf-8", "replace")[-3000:]
        self.stream.close()


@pytest.fixture
def storm(tmp_path: Path, templates: Path, chance: random.Random) -> Iterator[Callable[..., Storm]]:
    """Starts storms: `storm(root)`, or `storm(root, "sdk_writer")` for a training that saves."""
    made: list[Storm] = []

    def make(base: Path, kind: str = "storm_writer") -> Storm:
        log = tmp_path / f"storm-{len(made)}.log"
        if kind == "storm_writer":
            # A root in which nothing stays of what was known is doubted; a storm may be that thorough.
            write_weights(base / "steady" / "model.safetensors")
        made.append(Storm(kind, base, templates, chance.randrange(1 << 30), log))
        made[-1].wait(1)
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()
        one.stream.close()


# The truth


_CLOCKS = ("updated_at",)


def known_to(get: Callable[..., Any]) -> dict[str, Any]:
    """Every run with its checkpoints, by path, without clocks; `get` answers pages of the API."""
    found = {}
    for listed in get("/v1/runs")["runs"]:
        answer = get(f"/v1/run?run={listed['id']}")
        run = {name: value for name, value in answer["run"].items() if name not in _CLOCKS}
        checkpoints = {one["path"]: one for one in answer["checkpoints"]}
        found[listed["path"]] = {"run": run, "checkpoints": checkpoints, "policy": answer["policy"]}
    return found


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two answers differ, one line each."""
    if isinstance(one, dict) and isinstance(other, dict):
        lines = []
        for key in sorted(one.keys() | other.keys()):
            if key not in one or key not in other:
                lines.append(f"{where}/{key}: only in the {'scan' if key not in one else 'catalog'}")
            else:
                lines += differences(one[key], other[key], f"{where}/{key}")
        return lines
    return [] if one == other else [f"{where}: catalog {one!r}, scan {other!r}"]


def compare(daemon: Daemon, *roots: Path) -> list[str]:
    """How the daemon's catalog differs from what `ckptd once` would see now."""
    from ckptd.once import look

    scanned = known_to(look([str(root) for root in roots]).get)
    with daemon.client() as client:
        return differences(known_to(client.get), scanned)


@pytest.fixture
def equals_scan() -> Callable[..., None]:
    """Waits until the catalog of a daemon equals a fresh full look at the same roots: `equals_scan(daemon, root)`."""

    def check(daemon: Daemon, *roots: Path, seconds: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = compare(daemon, *roots)
            except CkptError as error:
                # A run of the listing may be gone before it is asked for.
                found = [str(error)]
            if not found:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} differences after {seconds:g} s:\n" + "\n".join(found[:30]))
            time.sleep(0.1)

    return check


# Mounts


class Mounts:
    """File systems below one directory; all are gone again after the test."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def mount(self, *arguments: str | Path) -> None:
        """`mount` with these arguments; skips the test where that is not allowed."""
        if os.geteuid() != 0:
            pytest.skip("mounting needs root")
        done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"this machine does not let us mount: {done.stderr.strip()}")

    def tmpfs(self, path: Path, options: str = "size=8m") -> None:
        """An empty file system in memory."""
        path.mkdir(parents=True, exist_ok=True)
        self.mount("-t", "tmpfs", "-o", options, "tmpfs", path)

    def image(self, file: Path) -> Path:
        """A file with an empty ext4 file system; `mount("-o", "loop", file, path)` mounts it."""
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not there")
        with open(file, "wb") as stream:
            stream.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(file)], check=True, capture_output=True)
        return file

    def unmount(self, path: Path) -> None:
        """Unmounts as an administrator would; a look that passes by at this moment is waited for."""
        wait_until(lambda: subprocess.run(["umount", str(path)], capture_output=True, check=False).returncode == 0)

    def clean(self) -> None:
        """Unmounts everything below the directory, the innermost first."""
        for _ in range(20):
            lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
            left = [line.split()[4] for line in lines if line.split()[4].startswith(f"{self._base}/")]
            if not left:
                return
            for place in reversed(left):
                if subprocess.run(["umount", place], capture_output=True, check=False).returncode:
                    subprocess.run(["umount", "-l", place], capture_output=True, check=False)


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    """Mounts below `tmp_path`."""
    made = Mounts(tmp_path)
    yield made
    made.clean()


@pytest.fixture
def state_home(tmp_path: Path, own_places: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state home below `tmp_path`, where a test may mount what it likes."""
    path = tmp_path / "state"
    path.mkdir()
    monkeypatch.setenv("CKPTD_STATE_HOME", str(path))
    return path


@pytest.fixture
def open_files() -> Callable[[Daemon], int]:
    """How many descriptors a daemon has open."""
    return lambda daemon: len(os.listdir(f"/proc/{daemon.pid}/fd"))


@pytest.fixture
def allow_files() -> Callable[[Daemon, int], None]:
    """Sets how many descriptors a running daemon may have."""

    def limit(daemon: Daemon, number: int) -> None:
        hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (number, hard))

    return limit


@pytest.fixture
def garbage(chance: random.Random) -> Callable[[], None]:
    """Talks nonsense to the socket once, and hangs up in the middle."""

    def once() -> None:
        sayings = (
            chance.randbytes(chance.randrange(1, 5000)),
            b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 10_000,
            b"POST /v1/marks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
            b"POST /v1/marks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n",
            b"",
        )
        with socket.socket(socket.AF_UNIX) as one, contextlib.suppress(OSError):
            one.settimeout(0.05)
            one.connect(str(socket_path()))
            one.sendall(chance.choice(sayings))
            one.recv(100)

    return once


@pytest.fixture
def state_paths() -> Callable[[], StatePaths]:
    """The daemon's own files, wherever this test put them."""
    return StatePaths.here
