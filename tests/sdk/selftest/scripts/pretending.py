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
    if way == "fails-at-ends" and done == 4:
        raise SystemExit("no next epoch")
resumed = done > 0
saves_by_itself = way in ("saves", "forgets-at-ends", "fails-at-ends")
saves_by_itself |= way == "saves-at-first" and plan.most_steps is not None
other_loss = resumed and (way == "other-loss" or (way == "forgets-at-ends" and done == 4))
tell(Event(what="asks", step=done))
for step in range(done + 1, 9):
    loss = "0.5" if other_loss else f"{1 / step}"
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
        tell(Event(what="forced", step=step))
    if plan.save_at == step or (saves_by_itself and step % 4 == 0):
        write_json(checkpoint, {"step": step})
        tell(Event(what="saved", step=step))
