"""The runs that ckptd knows, over its socket."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt import refs
from ckpt.client import Client
from ckpt.encoding import path_fields, printable
from ckpt.exceptions import CkptError, NoDaemonError, OperationError, UsageError
from ckpt.protocol import checkpoint_from_json, run_from_json, undo_body
from ckpt.records import Checkpoint, Reason, Run, Verdict
from ckpt_tui.dashboard.acts import Act, ActKind, address_of, checkpoint_name
from ckpt_tui.dashboard.feed import Curves, RunDetail, Standing
from ckpt_tui.dashboard.feeds import local
from ckpt_tui.wording import file_name, plural

POINTS = 2000  # of a curve: twice as many as the widest chart has columns of dots
LOOK_S = 10.0  # between two looks where no daemon runs and every look reads the disk anew


class DaemonFeed:
    """Asks the daemon. Without one, what `ckptd once` reads is shown, and nothing can be changed."""

    def __init__(self, *, autostart: bool = True) -> None:
        self.title = "ckptd"
        self.advice = "ckpt watch add DIR"
        self._autostart = autostart
        self._client: Client | None = None
        self._names: dict[str, str] = {}
        self._closed = False

    @property
    def client(self) -> Client:
        """The connection. Raises NoDaemonError before `open`."""
        if self._client is None:
            raise NoDaemonError("not connected to the daemon")
        return self._client

    def open(self) -> str | None:
        """Connects; starts a daemon where that is allowed. Raises DaemonError."""
        self._client = Client.connect(autostart=self._autostart)
        if self._client.mode == "once":
            self.title = "the disk, no daemon"
            return "no daemon runs: read-only, read from disk; `ckptd start` starts one"
        return None

    def runs(self) -> list[Run]:
        """All runs."""
        runs = [run_from_json(raw) for raw in self.client.get("/v1/runs")["runs"]]
        self._names = refs.short_names(runs)
        return runs

    def standing(self) -> Standing:
        """What the daemon's status says; nothing waits and nothing is enforced where none runs."""
        if self.client.mode == "once":
            return Standing()
        status = self.client.get("/v1/status")
        roots = status.get("roots") or ()
        return Standing(
            asks={str(ask["run"]): str(ask["text"]) for ask in status.get("asks") or () if ask.get("run")},
            enforced=frozenset(str(r["path"]) for r in roots if r.get("mode") == "enforce" and not r.get("waits")),
        )

    def run(self, run_id: str) -> RunDetail:
        """One run. Raises AddressError when it is gone."""
        raw = self.client.get("/v1/run", run=run_id)
        checkpoints, verdicts = [], {}
        for item in raw["checkpoints"]:
            checkpoint = _checkpoint(item)
            checkpoints.append(checkpoint)
            if item.get("verdict"):
                verdicts[checkpoint.id] = _verdict(item["verdict"])
        return RunDetail(
            run=run_from_json(raw["run"]),
            checkpoints=tuple(checkpoints),
            verdicts=verdicts,
            policy=raw.get("policy") or {},
        )

    def curves(self, run_id: str) -> Curves:
        """What a run emitted; null is NaN."""
        raw = self.client.get("/v1/curves", run=run_id, points=POINTS)["metrics"]
        nan = float("nan")
        return {name: [(int(s), nan if v is None else float(v)) for s, v in points] for name, points in raw.items()}

    def plan(self, run_id: str) -> dict[str, Any]:
        """The plan of one run."""
        plan: dict[str, Any] = self.client.get("/v1/plan", run=run_id)
        return plan

    def diff(self, a: Checkpoint, b: Checkpoint) -> dict[str, Any]:
        """Two checkpoints compared; the daemon is not needed for that."""
        return local.compare(a, b)

    def resume(self, checkpoint: Checkpoint) -> Mapping[str, Any] | None:
        """What is in the checkpoint for a resume, read from its files."""
        return local.resume(checkpoint)

    def trash(self, run_id: str | None) -> list[dict[str, Any]]:
        """The trash."""
        entries: list[dict[str, Any]] = self.client.get("/v1/trash", run=run_id)["entries"]
        return entries

    def undoable(self) -> Act | None:
        """The undo of the latest act that can be taken back."""
        act = self.client.get("/v1/undo")["undo"]
        return None if act is None else Act(kind="undo", text=printable(str(act["text"])), shown=undo_body(act))

    def cannot(self, kind: ActKind, run: Run | None) -> str | None:
        """Everything can be done where a daemon runs; copies need none."""
        if self.client.mode == "once" and kind not in ("restore", "fork"):
            return "No daemon runs, and this needs one: `ckptd start` starts it."
        return None

    def address(self, run: Run, checkpoint: Checkpoint, siblings: tuple[Checkpoint, ...]) -> str:
        """By the run's shortest name and the step."""
        return address_of(self._names.get(run.id, run.name), checkpoint, siblings)

    def perform(self, act: Act) -> str:
        """Asks the daemon to do it; copies are made here, with this user's rights and in this directory."""
        match act.kind:
            case "restore":
                return local.restore(act)
            case "fork":
                directory = local.fork(act)
                # A daemon that does not hear of it finds it at the next look, when it lies under a root.
                with contextlib.suppress(CkptError):
                    self.client.post("/v1/announce", path_fields(str(directory)))
                return f"forked {printable(str(directory))}"
            case "trash restore":
                answer = self.client.post("/v1/trash/restore", {"ids": list(act.entries)})
                names = ", ".join(file_name(str(item.get("path", ""))) for item in answer["restored"])
                return f"restored {plural(len(answer['restored']), 'checkpoint')}: {names}{_left(answer)}"
            case "undo":
                undone = self.client.post("/v1/undo", act.shown)["undone"]
                return f"took back: {printable(str(undone['text']))}{_left(undone)}"
            case _:
                return self._mark(act)

    def _mark(self, act: Act) -> str:
        if act.run is None or act.checkpoint is None:
            raise UsageError(f"{act.kind} needs a checkpoint")
        body = {"ref": f"{act.run.id}@{act.checkpoint.id}", "kind": act.kind}
        if act.kind in ("tag", "untag"):
            body["name"] = act.text
        elif act.kind == "note":
            body["text"] = act.text
        self.client.post("/v1/marks", body)
        said = {"tag": f"tagged {act.text}:", "untag": f"took {act.text} from", "note": "noted on"}
        text = f"{said.get(act.kind, act.kind + 'ned')} {checkpoint_name(act.run, act.checkpoint)}"
        if act.kind in ("tag", "pin") and not act.run.own:
            text += "; the tool that wrote it may still delete or overwrite it, a restored copy stays"
        return text

    def ping(self) -> bool:
        """Whether the daemon answers. Raises DaemonError."""
        if self.client.mode == "daemon":
            self.client.get("/v1/status")
        return True

    def changes(self) -> Iterator[frozenset[str] | None]:
        """Events of the daemon, as the runs that they are about; without a daemon a look every ten seconds."""
        if self.client.mode == "once":
            while not self._closed:
                time.sleep(LOOK_S)
                yield None
            return
        for event in self.client.events():
            run = event.get("run")
            yield frozenset({run}) if isinstance(run, str) and event.get("kind") != "daemon.gap" else None

    def close(self) -> None:
        """Closes the connection."""
        self._closed = True
        if self._client is not None:
            self._client.close()


def _checkpoint(raw: dict[str, Any]) -> Checkpoint:
    """A checkpoint; a loss or learning rate that JSON could not carry is NaN, not missing."""
    checkpoint = checkpoint_from_json(raw)
    lost = {name: float("nan") for name in ("loss", "learning_rate") if name in raw.get("nonfinite", ())}
    changed: Checkpoint = checkpoint.evolve(**lost) if lost else checkpoint
    return changed


def _verdict(raw: dict[str, Any]) -> Verdict:
    return Verdict(
        action=raw["action"],
        reasons=tuple(_reason(r) for r in raw.get("reasons") or ()),
        near_misses=tuple(_reason(r) for r in raw.get("near_misses") or ()),
    )


def _reason(raw: dict[str, Any]) -> Reason:
    return Reason(**{name: raw[name] for name in Reason.__struct_fields__ if name in raw})


def _left(answer: Mapping[str, Any]) -> str:
    """What of a restore stayed in the trash, as the rest of a sentence. Raises OperationError when all of it did."""
    left = answer.get("left") or ()
    if not left:
        return ""
    why = f"{file_name(str(left[0]['path']))}: {printable(str(left[0]['reason']))}"
    if not answer["restored"]:
        raise OperationError("nothing came back", hint=why)
    return f"; {len(left)} stayed in the trash, {why}"
