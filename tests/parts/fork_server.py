"""Scripts in processes of their own, forked from one that has imported torch already, as that takes seconds.

A script finds what it would find as a fresh process: arguments, directory, environment, `__main__`, random states of
its own. What it does not show is that its imports work and warn of nothing.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_SERVER = """
import json, os, sys, types, warnings
import numpy
import sklearn.datasets
import torch
import ckpt.hook, ckpt.loaders

if "optimizer" in sys.argv:
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)  # the first one imports as much as torch itself

for line in iter(sys.stdin.readline, ""):
    asked = json.loads(line)
    if "end" in asked:
        os._exit(0)
    if "wait" in asked:
        print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        break
    print(pid, flush=True)
else:
    os._exit(0)

os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
for number, path in ((1, asked["stdout"]), (2, asked["stderr"])):
    os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
os.environ.clear()
os.environ.update(asked["env"])
os.chdir(asked["cwd"])
numpy.random.seed()
if asked["strict"]:
    sys.warnoptions = ["error"]
    warnings.simplefilter("error")
sys.argv = asked["argv"]
sys.orig_argv = [sys.executable, *sys.argv]
sys.path[0] = os.path.dirname(sys.argv[0])
main = sys.modules["__main__"] = types.ModuleType("__main__")
if sys.path[0]:
    main.__file__ = sys.argv[0]
exec(compile(asked["code"], sys.argv[0], "exec"), main.__dict__)
"""


class Forked:
    """One process that runs a script."""

    def __init__(self, server: ForkServer, pid: int, stdout: Path, stderr: Path) -> None:
        self._server = server
        self._stdout, self._stderr = stdout, stderr
        self._ended = os.pidfd_open(pid)
        self._status: int | None = None
        self.pid = pid

    @property
    def stdout(self) -> str:
        """What it wrote so far."""
        return self._stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it wrote so far."""
        return self._stderr.read_text(errors="replace")

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._status is None and not select.select([self._ended], [], [], 0)[0]

    def kill(self) -> None:
        """Kills it, if it runs, and waits until it is gone."""
        if self.is_alive():
            os.kill(self.pid, 9)
        self.wait(30)

    def wait(self, timeout: float) -> int:
        """The exit status, or the negative number of the signal that ended it; after `timeout` seconds it is killed."""
        if self._status is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                os.kill(self.pid, 9)
                self._reap()
                raise AssertionError(f"it did not end in {timeout} s:\n{self.stdout}\n{self.stderr}")
            self._reap()
        assert self._status is not None
        return self._status

    def _reap(self) -> None:
        self._status = self._server.ask({"wait": self.pid})
        os.close(self._ended)


class ForkServer:
    """The process that forks. Its output is as that of any script that is started without a terminal.

    With `optimizers` what torch imports for the first of them is there too. But then Python does not end by SIGINT any
    more at an interrupt that nobody caught.
    """

    def __init__(self, *, optimizers: bool) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="ck-fork-")
        command = [sys.executable, "-c", _SERVER, *["optimizer"] * optimizers]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(
        self,
        code: str | Path,
        *argv: str,
        cwd: Path,
        env: dict[str, str] | None = None,
        strict: bool = False,
        output: Path | None = None,
    ) -> Forked:
        """A process that runs a script: its text, or its file. With `strict` every warning is an error.

        `output` is a file for all that it writes; without one, standard output and errors are apart.
        """
        written = Path(tempfile.mkdtemp(dir=self._scratch.name))
        stdout, stderr = (written / "stdout", written / "stderr") if output is None else (output, output)
        for path in (stdout, stderr):
            path.touch()
        asked = {
            "code": code.read_text() if isinstance(code, Path) else code,
            "argv": [str(code) if isinstance(code, Path) else "-", *argv],
            "cwd": str(cwd),
            "env": dict(os.environ if env is None else env),
            "strict": strict,
            "stdout": str(stdout),
            "stderr": str(stderr),
        }
        return Forked(self, self.ask(asked), stdout, stderr)

    def run(self, code: str | Path, *argv: str, timeout: float = 150, **place: Any) -> subprocess.CompletedProcess[str]:
        """Runs a script to its end, as `subprocess.run` would."""
        script = self.start(code, *argv, **place)
        status = script.wait(timeout)
        return subprocess.CompletedProcess(["python", *argv], status, script.stdout, script.stderr)

    def ask(self, what: dict[str, Any]) -> int:
        """One request, one number."""
        self._tell(what)
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Ends it. It is told to, as its input may stay open: what a script left behind holds its other end."""
        self._tell({"end": True})
        self._process.wait(60)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._scratch.cleanup()

    def _tell(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
