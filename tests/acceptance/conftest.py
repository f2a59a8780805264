"""A real daemon that enforces, and real trainings that go step by step while it removes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from ckpt.client import Client, daemon_note
from ckpt.exceptions import CkptError

TRAININGS = Path(__file__).with_name("enforced_trainings.py")
MARK = ">>> "
SECONDS = 90.0
QUIET = {
    "PYTHONWARNINGS": "ignore",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}

QUICK = """
from ckpt.retention import outside
outside.SETTLE_S = 0.3
from ckptd.cli import main
main()
"""
"""A daemon for which what a training wrote is settled after less than the minute that it usually waits."""

File = tuple[str, int, int]
"""Hash, size and time of change (ns)."""


def until(check: Callable[[], Any], what: Callable[[], object] | None = None) -> Any:
    """What `check` returns as soon as it is true; `what` tells of the world when it never becomes so."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(CkptError):
            if found := check():
                return found
        time.sleep(0.03)
    raise AssertionError(f"{check} never came true: {what() if what is not None else ''}")


def content(directory: Path) -> dict[str, File]:
    """All files below a directory, but those of the daemon: relative path to what is in it and when it changed."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and ".ckptd" not in path.parts:
            info = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(directory))] = (digest, info.st_size, info.st_mtime_ns)
    return found


class Training:
    """A process that trains with a real framework, and waits after each save until `go_on`."""

    def __init__(self, framework: str, directory: Path, until: Sequence[int], log: Path) -> None:
        self.directory = directory
        self.seen: dict[str, File] = {}
        """Every file that it ever had after a save: relative path to what it was then."""
        self.end: dict[str, Any] = {}
        """What its library said when it ended last."""
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(TRAININGS), framework, str(directory), *map(str, until)],
                env={**os.environ, **QUIET, "TMPDIR": str(log.parent)},
                cwd=log.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def saved(self) -> int | None:
        """Waits for the next save, and says which; None when the training ends, to be resumed or for good."""
        for line in self._lines:
            if line.startswith(MARK):
                said = json.loads(line[len(MARK) :])
                if "saved" not in said:
                    self.end = said
                    return None
                for path, file in said["files"].items():
                    self.seen[str(Path(path).relative_to(self.directory))] = tuple(file)
                return int(said["saved"])
        raise AssertionError(self._log.read_text()[-6000:])

    def finish(self) -> None:
        """Waits for the end of the process, which has to be a good one."""
        assert self._process.wait(SECONDS) == 0, self._log.read_text()[-6000:]

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.wait(20)

    @property
    def _lines(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout


class Box:
    """A daemon, and directories in which it enforces."""

    def __init__(self, client: Client, base: Path) -> None:
        self.client = client
        self._base = base
        self._trainings: list[Training] = []

    def enforce(self, directory: Path, policy: dict[str, Any]) -> None:
        """Lets a policy act on a directory; its first plan is confirmed."""
        said = " ".join(f"{name}={value}" for name, value in policy.items())
        command = ["watch", "add", str(directory), "--enforce", "--policy", said, "--yes"]
        done = subprocess.run(
            [sys.executable, "-c", "from ckpt_tui.cli import main; main()", *command],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr

    def train(self, framework: str, directory: Path, *until: int) -> Training:
        """Starts a training that ends at the first of `until`, and is then resumed until the next."""
        training = Training(framework, directory, until, self._base / f"{framework}.log")
        self._trainings.append(training)
        return training

    def view(self, directory: Path) -> dict[str, Any]:
        """The run in a directory, as it is known now. Raises AddressError while it is not known."""
        found: dict[str, Any] = self.client.get("/v1/run", run=str(directory))
        return found

    def verdicts(self, directory: Path) -> dict[str, tuple[str, list[str]]]:
        """Name of each checkpoint to what becomes of it, and why."""
        return {
            os.path.relpath(c["path"], directory): (
                c["verdict"]["action"],
                [reason["text"] for reason in c["verdict"]["reasons"]],
            )
            for c in self.view(directory)["checkpoints"]
            if c["verdict"] is not None
        }

    def trash(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.client.get("/v1/trash")["entries"]
        return entries

    def brought_back(self, directory: Path, seen: Mapping[str, File]) -> set[str]:
        """Restores all that was removed; the names of what came back.

        Checks that it is as it was written, and that nothing lies there that the training did not write.
        """
        before = content(directory)
        # Of what was written again under the same name, the last: the place can be taken once.
        entries = list({entry["path"]: entry for entry in reversed(self.trash())}.values())
        self.client.post("/v1/trash/restore", {"ids": [entry["id"] for entry in entries]})
        after = content(directory)
        back = set(after) - set(before)
        assert {path: after[path] for path in back} == {path: seen[path] for path in back}
        assert {path: after[path] for path in before} == before
        assert set(after) <= set(seen)
        return {os.path.relpath(entry["path"], directory) for entry in entries}

    def becomes(self, directory: Path, names: set[str]) -> None:
        """Waits until exactly these entries are in a directory that has no others."""
        until(
            lambda: set(os.listdir(directory)) == names, lambda: (sorted(os.listdir(directory)), self.told(directory))
        )

    def told(self, directory: Path) -> object:
        """What the daemon makes of the run in or above a directory, for the words of a failure."""
        for place in (directory, directory.parent):
            with contextlib.suppress(CkptError):
                return self.client.get("/v1/plan", run=str(place))
        return "the run is not known"

    until = staticmethod(until)
    content = staticmethod(content)

    def close(self) -> None:
        for training in self._trainings:
            training.stop()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A daemon that looks often."""
    with (tmp_path / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", QUICK, "run"],
            env={
                **os.environ,
                "CKPTD_SETTLE_S": "0.05",
                "CKPTD_RESCAN_S": "0.5",
                "CKPTD_PLAN_S": "0.1",
                "CKPTD_FLUSH_S": "0.1",
            },
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    made: Box | None = None
    try:
        until(lambda: (daemon_note() or {}).get("pid") == process.pid)
        with Client.connect(autostart=False) as client:
            made = Box(client, tmp_path)
            yield made
    finally:
        if made is not None:
            made.close()
        process.terminate()
        process.wait(20)
