"""The main job, end to end: real trainings, watched while they write, kept by their policies, shown.

    python examples/demo.py [DIRECTORY]

Trains three small models on scikit-learn's digits into DIRECTORY (default: demo): two side by side with different
learning rates, one of them killed with SIGKILL in the middle and resumed, and a third that is forked from the best
checkpoint of the first. A `ckptd` of its own watches. Then the dashboard opens; without a terminal the same is printed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
MARKER = ".made-by-ckptd-demo"
LIMIT_S = 300  # for each wait
TRAINING_LOG = "training.log"


class Demo:
    """The processes and places of one demonstration; `close` ends all of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runs = directory / "runs"
        # The socket's path must be short, wherever the project lies.
        self.private = Path(tempfile.mkdtemp(prefix="ckptd-demo-"))
        bin_directory = Path(sys.executable).parent
        self.env = {
            **os.environ,
            "PATH": f"{bin_directory}{os.pathsep}{os.environ.get('PATH', '')}",
            "CKPTD_STATE_HOME": str(self.private / "state"),
            "CKPTD_CONFIG_HOME": str(self.private / "config"),
            "CKPTD_RUNTIME_DIR": str(self.private / "run"),
            "CKPTD_AUTOSTART": "0",
        }
        self.children: list[subprocess.Popen[bytes]] = []

    def start(self, log: str, *argv: str) -> subprocess.Popen[bytes]:
        """Starts a program that `close` will end; what it says goes into a log beside the runs."""
        with open(self.directory / log, "ab") as out:
            child = subprocess.Popen(
                argv, env=self.env, cwd=self.directory, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        self.children.append(child)
        return child

    def train(self, *argv: str) -> subprocess.Popen[bytes]:
        """Starts a training."""
        return self.start(TRAINING_LOG, sys.executable, str(HERE / "train.py"), "--base-dir", str(self.runs), *argv)

    def show(self, *argv: str) -> int:
        """Runs a command and lets it print."""
        print(f"\n$ {' '.join(argv)}", flush=True)
        return subprocess.run(argv, env=self.env, cwd=self.directory, check=False).returncode

    def close(self) -> None:
        """Ends what still runs and removes the daemon's private files."""
        for child in self.children:
            if child.poll() is None:
                child.terminate()
        for child in self.children:
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.private, ignore_errors=True)


def say(text: str) -> None:
    print(f"-- {text}", flush=True)


def wait_until(ready: Callable[[], bool], what: str, child: subprocess.Popen[bytes]) -> None:
    """Waits for something that a child does. Raises SystemExit when it ends or takes too long."""
    deadline = time.monotonic() + LIMIT_S
    while not ready():
        if child.poll() is not None:
            raise SystemExit(f"demo: waiting for {what}, but the program ended with code {child.returncode}")
        if time.monotonic() > deadline:
            raise SystemExit(f"demo: {what} took longer than {LIMIT_S} s")
        time.sleep(0.05)


def finish(what: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Waits for the good end of a child. Raises SystemExit, with the end of its log, on another one."""
    try:
        code = child.wait(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"demo: {what} took longer than {LIMIT_S} s") from None
    if code != 0:
        said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"demo: {what} ended with code {code}\n{said}")


def fresh(directory: Path) -> Path:
    """An empty directory for the demonstration; an earlier one is replaced, anything else is left alone."""
    if directory.exists():
        if any(directory.iterdir()) and not (directory / MARKER).exists():
            raise SystemExit(f"demo: {directory} exists and is not an earlier demonstration; name another directory")
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    (directory / MARKER).touch()
    return directory


def train_all(demo: Demo) -> None:
    """Two trainings side by side, a kill, a resume, a fork."""
    say("training exp1 (lr 0.5) and exp2 (lr 0.05) on scikit-learn's digits")
    log = demo.directory / TRAINING_LOG
    first = demo.train("--name", "exp1", "--lr", "0.5", "--epochs", "12")
    second = demo.train("--name", "exp2", "--lr", "0.05", "--epochs", "12", "--slow", "0.02")
    states = demo.runs / "exp2" / "states.jsonl"
    wait_until(lambda: states.exists() and states.read_bytes().count(b"\n") >= 100, "100 steps of exp2", second)
    say(f"killing exp2 with SIGKILL (process {second.pid})")
    second.send_signal(signal.SIGKILL)
    second.wait()
    finish("exp1", first, log)
    say("resuming exp2 from its newest whole checkpoint")
    second = demo.train("--resume", "exp2", "--epochs", "12")
    say("forking exp3 from exp1's best checkpoint")
    third = demo.train("--fork", "exp1@best", "--name", "exp3", "--lr", "0.02", "--epochs", "8")
    finish("exp2", second, log)
    finish("exp3", third, log)


def main() -> int:
    directory = fresh(Path(sys.argv[1] if len(sys.argv) > 1 else "demo").absolute())
    demo = Demo(directory)
    try:
        demo.runs.mkdir()
        say(f"ckptd watches {demo.runs}")
        demo.start("ckptd.log", "ckptd", "run", "--watch", str(demo.runs))
        train_all(demo)
        if sys.stdout.isatty() and sys.stdin.isatty():
            return demo.show("ckpt", "tui")
        codes = [
            demo.show("ckpt", "ls"),
            demo.show("ckpt", "ls", "exp2"),
            demo.show("ckpt", "plan"),
        ]
        different = demo.show("ckpt", "diff", "exp1@best", "exp3@best")
        print(f"\nthe runs stay in {demo.runs}: `{Path(sys.executable).parent / 'ckpt'} tui {demo.runs}` shows them")
        return 0 if not any(codes) and different in (0, 1) else 1
    except KeyboardInterrupt:
        return 130
    finally:
        demo.close()


if __name__ == "__main__":
    # A plain SIGTERM must end the children too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
