"""A feed in memory: every test of the dashboard, and its showcase, runs on it."""

from __future__ import annotations

import math
import queue
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt.exceptions import AddressError, CkptError
from ckpt.protocol import checkpoint_to_json, reason_to_json
from ckpt.records import Checkpoint, Reason, Run, Verdict
from ckpt_tui.dashboard.acts import Act, ActKind, address_of, checkpoint_name
from ckpt_tui.dashboard.feed import Curves, RunDetail, Standing


class ScriptedFeed:
    """Runs that a script puts in and changes; acts change them as the real ones would, and are remembered."""

    def __init__(self, details: Sequence[RunDetail] = (), curves: dict[str, Curves] | None = None) -> None:
        self.title = "script"
        self.details = {detail.run.id: detail for detail in details}
        self.all_curves = dict(curves or {})
        self.entries: list[dict[str, Any]] = []
        self.done: list[Act] = []
        """Acts in the order in which they were performed."""
        self.lost: CkptError | None = None
        """When set, every call fails with it, as when a daemon dies."""
        self.difference: dict[str, Any] = {}
        self.resumes: dict[str, Mapping[str, Any]] = {}
        """By checkpoint id."""
        self.advice = "ckpt watch add DIR"
        self.stands = Standing()
        self._changes: queue.Queue[frozenset[str] | str | None] = queue.Queue()

    def put(self, detail: RunDetail, curves: Curves | None = None) -> None:
        """Adds a run or replaces it, and tells who listens."""
        self.details[detail.run.id] = detail
        if curves is not None:
            self.all_curves[detail.run.id] = curves
        self._changes.put(frozenset({detail.run.id}))

    def open(self) -> str | None:
        """Always connected, always writable."""
        return None

    def runs(self) -> list[Run]:
        """All runs."""
        self._check()
        return [detail.run for detail in self.details.values()]

    def standing(self) -> Standing:
        """What the script says."""
        return self.stands

    def run(self, run_id: str) -> RunDetail:
        """One run. Raises AddressError when it is not in the script."""
        self._check()
        if run_id not in self.details:
            raise AddressError(f"no run {run_id}")
        return self.details[run_id]

    def curves(self, run_id: str) -> Curves:
        """The curves put in for a run."""
        self._check()
        return self.all_curves.get(run_id, {})

    def plan(self, run_id: str) -> dict[str, Any]:
        """The verdicts of a run as a plan."""
        detail = self.run(run_id)
        parts: dict[str, list[dict[str, Any]]] = {"keep": [], "remove": [], "skip": []}
        for checkpoint in detail.checkpoints:
            verdict = detail.verdicts.get(checkpoint.id)
            if verdict is not None:
                entry = checkpoint_to_json(checkpoint)
                entry["reasons"] = [reason_to_json(r) for r in verdict.reasons]
                entry["near_misses"] = [reason_to_json(r) for r in verdict.near_misses]
                parts[verdict.action].append(entry)
        freed = sum(entry["bytes"] for entry in parts["remove"])
        run = {"run": run_id, "policy": dict(detail.policy), **parts}
        return {"id": "5c21ab90", "runs": [run], "freed_now": 0, "freed_at_purge": freed}

    def diff(self, a: Checkpoint, b: Checkpoint) -> dict[str, Any]:
        """What the script says two checkpoints differ in."""
        self._check()
        return {"a": a.path, "b": b.path, **self.difference}

    def resume(self, checkpoint: Checkpoint) -> Mapping[str, Any] | None:
        """What the script says of a checkpoint."""
        self._check()
        return self.resumes.get(checkpoint.id)

    def trash(self, run_id: str | None) -> list[dict[str, Any]]:
        """The script's trash."""
        self._check()
        return [e for e in self.entries if run_id is None or e["run"] == run_id]

    def undoable(self) -> Act | None:
        """The undo of the last act."""
        self._check()
        return Act(kind="undo", text=f"{self.done[-1].kind} {self.done[-1].text}".strip()) if self.done else None

    def cannot(self, kind: ActKind, run: Run | None) -> str | None:
        """Everything can be done in a script."""
        return None

    def address(self, run: Run, checkpoint: Checkpoint, siblings: tuple[Checkpoint, ...]) -> str:
        """By run name and step."""
        return address_of(run.name, checkpoint, siblings)

    def perform(self, act: Act) -> str:
        """Changes the script's runs, and tells who listens."""
        self._check()
        self.done.append(act)
        if act.kind == "trash restore":
            self.entries = [e for e in self.entries if e["id"] not in act.entries]
        if act.checkpoint is None or act.run is None:
            return f"{act.kind} done"
        detail = self.details[act.run.id]
        changed = _changed(act, act.checkpoint)
        kept = tuple(changed if c.id == changed.id else c for c in detail.checkpoints)
        self.put(detail.evolve(checkpoints=kept))
        return f"{act.kind} {checkpoint_name(act.run, act.checkpoint)}"

    def ping(self) -> bool:
        """Whether the script is not lost."""
        self._check()
        return True

    def changes(self) -> Iterator[frozenset[str] | None]:
        """What `put` told."""
        while True:
            change = self._changes.get()
            if isinstance(change, str):
                return
            yield change

    def close(self) -> None:
        """Ends `changes`."""
        self._changes.put("end")

    def _check(self) -> None:
        if self.lost is not None:
            raise self.lost


def _changed(act: Act, checkpoint: Checkpoint) -> Checkpoint:
    changes: dict[str, Any] = {}
    match act.kind:
        case "tag":
            changes = {"tags": tuple(sorted({*checkpoint.tags, act.text}))}
        case "untag":
            changes = {"tags": tuple(t for t in checkpoint.tags if t != act.text)}
        case "pin" | "unpin":
            changes = {"pinned": act.kind == "pin"}
        case "note":
            changes = {"note": act.text or None}
        case _:
            return checkpoint
    changed: Checkpoint = checkpoint.evolve(**changes)
    return changed


def showcase(now: float, *, runs: int = 5, checkpoints: int = 24) -> ScriptedFeed:
    """A feed of plausible trainings: one runs, one failed, one holds a NaN, one was forked."""
    names = ("digits-lr3e-3", "digits-lr1e-3", "digits-lr1e-3-fork", "digits-lr3e-2", "digits-warmup")
    statuses = ("training", "finished", "finished", "failed", "idle")
    details, curves = [], {}
    for index in range(runs):
        name = names[index % len(names)] + (f"-{index}" if index >= len(names) else "")
        detail, series = _scripted_run(index, name, statuses[index % len(statuses)], checkpoints, now)
        details.append(detail)
        curves[detail.run.id] = series
    feed = ScriptedFeed(details, curves)
    feed.title = "ckptd"
    return feed


def _scripted_run(index: int, name: str, status: Any, count: int, now: float) -> tuple[RunDetail, Curves]:
    run_id = f"{index + 1:032x}"
    path = f"/runs/{name}"
    floor = 0.05 + 0.04 * index
    started = now - 3600.0 * (index + 1) * 3
    stride = 100
    every = 5 if count < 1000 else stride
    losses = [floor + 2.3 * math.exp(-step / (300.0 + 160.0 * index)) for step in range(0, count * stride + 1, every)]
    points = [
        (i * every, loss * (1 + 0.09 * math.sin(i * 1.7) + 0.05 * math.sin(i * 0.31 + index)))
        for i, loss in enumerate(losses)
    ]
    if status == "failed":
        points[-6:] = [(step, math.nan) for step, _ in points[-6:]]
    accuracy = [(step, 1 - min(0.9, value / 2.6)) for step, value in points]
    loss_at, accuracy_at = dict(points), dict(accuracy)
    found, verdicts = [], {}
    best_step = stride * max(1, count - 3)
    for n in range(count, 0, -1):
        step = n * stride
        loss = loss_at[step]
        newest, best = n == count, step == best_step
        tags = (
            *(("best",) if best else ()),
            *(("latest",) if newest else ()),
            *(("paper",) if n == count // 2 else ()),
        )
        state: Any = "writing" if newest and status == "training" else "complete"
        checkpoint = Checkpoint(
            id=f"{index + 1:04x}{n:08x}",
            run=run_id,
            path=f"{path}/checkpoints/step-{step:06d}.pt",
            framework="ckpt",
            state=state,
            seq=n,
            attempt=1,
            step=step,
            epoch=float(n // 2),
            loss=loss,
            learning_rate=3e-3 / (index + 1),
            metrics={"val_loss": loss * 1.08 if math.isfinite(loss) else loss, "accuracy": accuracy_at[step]},
            bytes=1_204_224 + 4096 * n,
            saved_at=now - (count - n) * 97.0 - 4 - index * 3600,
            tags=tags,
            pinned=n == count // 2,
            note="the one in the figure" if n == count // 2 else None,
            label="best" if best else "step",
        )
        found.append(checkpoint)
        verdicts[checkpoint.id] = _scripted_verdict(n, count, checkpoint, best)
    run = Run(
        id=run_id,
        name=name,
        root="/runs",
        path=path,
        own=True,
        status=status,
        checkpoints=len(found),
        bytes=sum(c.bytes for c in found),
        latest=found[0].id if found else None,
        best=next((c.id for c in found if "best" in c.tags), None),
        updated_at=found[0].saved_at if found else now,
        created_at=started,
        monitor="val_loss",
        mode="min",
        framework="ckpt",
        config={"lr": 3e-3 / (index + 1), "batch_size": 64, "seed": index},
        epoch=float(count // 2),
        step=count * stride,
        loss=points[-1][1],
    )
    policy = {"keep_last": 3, "keep_best": 1, "monitor": "val_loss", "mode": "min", "keep_every_n_steps": 500}
    series: Curves = {"loss": points, "val_loss": [(s, v * 1.08) for s, v in points[::20]], "accuracy": accuracy}
    return RunDetail(run=run, checkpoints=tuple(found), verdicts=verdicts, policy=policy), series


def _scripted_verdict(n: int, count: int, checkpoint: Checkpoint, best: bool) -> Verdict:
    reasons = []
    rank = count - n + 1
    if best:
        reasons.append(Reason(rule="best", text="best val_loss", rank=1, limit=1, metric="val_loss"))
    if rank <= 3:
        reasons.append(Reason(rule="last", text=f"{rank} of the last 3", rank=rank, limit=3))
    if checkpoint.pinned:
        reasons.append(Reason(rule="pinned", text="pinned"))
    if n % 5 == 0:
        reasons.append(Reason(rule="every_n_steps", text="every 500 steps"))
    if reasons:
        return Verdict(action="keep", reasons=tuple(reasons))
    miss = Reason(rule="last", text=f"{rank} from the newest, 3 are kept", rank=rank, limit=3)
    return Verdict(action="remove", near_misses=(miss,))
