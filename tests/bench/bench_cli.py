"""CPU time of cold commands: `python tests/bench/bench_cli.py` prints one JSON line.

Milliseconds of user and system time of a child process, as a median of 9 starts each; `pass` is the interpreter alone,
`ls DIR` looks at the disk itself, and `ls` asks a daemon that runs.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPEATS = 9


def cpu_ms(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Median and least CPU milliseconds of a command. Raises CalledProcessError when it fails."""
    spent = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime))
    return {"median": round(statistics.median(spent), 1), "min": round(min(spent), 1)}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-cli-") as directory:
        run = Path(directory) / "runs" / "exp1"
        run.mkdir(parents=True)
        (run / "run.json").write_text('{"format": 1, "id": "00000000000000000000000000000001", "name": "exp1"}')
        environment = {
            # An installed program is compiled once; starting must not compile it again.
            **{k: v for k, v in os.environ.items() if not k.startswith(("CKPTD_", "PYTHONDONTWRITE"))},
            "CKPTD_CONFIG_HOME": f"{directory}/config",
            "CKPTD_STATE_HOME": f"{directory}/state",
            "CKPTD_RUNTIME_DIR": f"{directory}/runtime",
            "CKPTD_AUTOSTART": "0",
        }
        ckpt = [sys.executable, "-c", "from ckpt_tui.cli import main; main()"]
        ckptd = [sys.executable, "-m", "ckptd"]
        subprocess.run([*ckpt, "ls", str(run.parent)], env=environment, check=True, capture_output=True)
        figures = {
            "python -c pass": cpu_ms([sys.executable, "-c", "pass"], environment),
            "ckpt --help": cpu_ms([*ckpt, "--help"], environment),
            "ckpt ls DIR": cpu_ms([*ckpt, "ls", str(run.parent)], environment),
        }
        start = [*ckptd, "start", "--watch", str(run.parent)]
        subprocess.run(start, env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        try:
            figures["ckpt ls"] = cpu_ms([*ckpt, "ls"], environment)
        finally:
            subprocess.run([*ckptd, "stop"], env=environment, check=True, capture_output=True)
    print(json.dumps({"bench": "cli", "unit": "ms CPU", "repeats": REPEATS, **figures}))


if __name__ == "__main__":
    main()
