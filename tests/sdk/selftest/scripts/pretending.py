"""A training without torch that records itself as the plan says: `python pretending.py WAY`; quick to start."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ckpt.files import read_json, write_json
from ckpt.runs.redirecting import written
from ckpt.selftest.plan import read_plan
from ckpt.selftest.recording_file import Event, Step, encode

way = sys.argv[1]
plan = read_plan()
assert plan is not None
recording = Path(plan.recording).open("ab", buffering=0)  # noqa: SIM115


def tell(what: object) -> None:
    recording.write(encode(what))  # type: ignore[arg-type]


base = written(Path.cwd() / "runs")
directory = base / (f"exp{len(list(base.glob('*')))}" if way == "new-run" else "exp")
directory.mkdir(parents=True, exist_ok=True)
write_json(directory / "run.json", {})
checkpoint = directory / "checkpoint.json"
done = 0
tell(Event(what="began"))
if checkpoint.exists() and way != "never-reads":
    saved = read_json(checkpoint)["step"]
    tell(Event(what="read", step=saved))
    done = 0 if way == "begins-anew" else saved
resumed = done > 0
tell(Event(what="asks", step=done))
for step in range(done + 1, 9):
    loss = f"{1 / step}" if not (resumed and way == "other-loss") else "0.5"
    parts = {"loss": {"loss": loss}, "weights": {"w": str(step)}}
    if way == "blind" and resumed:
        del parts["weights"]
    tell(Step(step=step, epoch=(step - 1) // 4, parts=parts))
    if plan.kill_at == step:
        tell(Event(what="killed", step=step))
        os.kill(os.getpid(), signal.SIGKILL)
    if plan.end_at == step or plan.most_steps == step:
        tell(Event(what="ended", step=step))
        break
    if plan.save_at == step:
        write_json(checkpoint, {"step": step})
        tell(Event(what="saved", step=step))
