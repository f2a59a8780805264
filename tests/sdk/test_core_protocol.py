"""What crosses the socket comes back as it was, and never breaks the encoder."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from ckpt import exceptions, protocol
from ckpt.records import Checkpoint, Lineage, Reason, Run, Verdict

CHECKPOINT = Checkpoint(
    id="c1",
    run="r1",
    path="/runs/exp/checkpoints/step-000001.pt",
    seq=1,
    attempt=2,
    step=1,
    epoch=0.5,
    loss=0.25,
    learning_rate=1e-3,
    metrics={"acc": 0.5},
    bytes=10,
    saved_at=5.0,
    tags=("best", "paper"),
    pinned=True,
    note="two\nlines",
    label="best",
    fingerprint="f",
    problems=("p",),
    held_by=("parent of x",),
)
RUN = Run(
    id="r1",
    name="exp",
    root="/runs",
    path="/runs/exp",
    own=True,
    status="training",
    parent=Lineage(run="r0", checkpoint="c0", path="/runs/old/x.pt"),
    monitor="acc",
    mode="max",
    config={"lr": 0.1, "layers": [1, 2], "none": None},
    loss=0.5,
    problems=("p",),
)


def through(value: Any) -> Any:
    return json.loads(protocol.encode(value))


def test_a_checkpoint_comes_back_as_it_was() -> None:
    assert protocol.checkpoint_from_json(through(protocol.checkpoint_to_json(CHECKPOINT))) == CHECKPOINT


def test_a_run_comes_back_as_it_was() -> None:
    assert protocol.run_from_json(through(protocol.run_to_json(RUN))) == RUN
    orphan = RUN.evolve(parent=None)
    assert protocol.run_from_json(through(protocol.run_to_json(orphan))) == orphan


def test_fields_of_a_newer_version_are_ignored() -> None:
    raw = through(protocol.run_to_json(RUN))
    raw["mood"] = "good"
    raw["parent"]["mood"] = "good"
    assert protocol.run_from_json(raw) == RUN
    assert protocol.checkpoint_from_json({**protocol.checkpoint_to_json(CHECKPOINT), "mood": 1}) == CHECKPOINT


def test_a_number_that_is_not_finite_is_null_and_named() -> None:
    odd = CHECKPOINT.evolve(metrics={"acc": math.nan, "f1": 0.5}, loss=math.inf, learning_rate=-math.inf)
    raw = through(protocol.checkpoint_to_json(odd))
    assert raw["metrics"] == {"acc": None, "f1": 0.5} and raw["loss"] is None and raw["learning_rate"] is None
    assert raw["nonfinite"] == ["acc", "loss", "learning_rate"]
    back = protocol.checkpoint_from_json(raw)
    assert math.isnan(back.metrics["acc"]) and back.metrics["f1"] == 0.5
    assert raw["infinite"] == {"loss": 1, "learning_rate": -1}
    assert (back.loss, back.learning_rate) == (math.inf, -math.inf)


def test_bytes_that_are_not_utf8_cross_the_socket() -> None:
    odd = CHECKPOINT.evolve(path="/runs/e\udcff/x\n.pt", problems=("a\udc80",), held_by=("\udcff",), note="\ud800")
    raw = through(protocol.checkpoint_to_json(odd))
    assert raw["path"] == "/runs/e\\xff/x\\x0a.pt"
    assert protocol.checkpoint_from_json(raw).path == odd.path
    odd_run = RUN.evolve(
        name="e\udcff",
        path="/runs/e\udcff",
        parent=Lineage(run="r0", path="/old/\udcff.pt"),
        config={"a\udcff": "\udc80"},
    )
    assert protocol.run_from_json(through(protocol.run_to_json(odd_run))).path == odd_run.path
    error = exceptions.OperationError("cannot read /runs/e\udcff", hint="\udc80")
    assert "cannot read" in through(protocol.error_to_json(error))["error"]["message"]


def test_a_verdict_leaves_out_what_does_not_apply() -> None:
    verdict = Verdict(
        action="remove",
        near_misses=(Reason(rule="best", text="t", rank=4, limit=3, metric="m", value=math.nan, cutoff=0.5),),
    )
    assert protocol.checkpoint_to_json(CHECKPOINT, verdict)["verdict"] == {
        "action": "remove",
        "reasons": [],
        "near_misses": [{"rule": "best", "text": "t", "rank": 4, "limit": 3, "metric": "m", "cutoff": 0.5}],
    }
    assert protocol.checkpoint_to_json(CHECKPOINT)["verdict"] is None


@pytest.mark.parametrize(
    "error",
    [
        exceptions.AddressError("no run", hint="did you mean x?", candidates=("x", "y")),
        exceptions.UsageError("bad"),
        exceptions.LockedError("held", hint="wait"),
        exceptions.OperationError("failed"),
        exceptions.NoDaemonError("none"),
        exceptions.StateError("bad state"),
    ],
)
def test_an_error_comes_back_as_the_class_that_was_raised(error: exceptions.CkptError) -> None:
    back = protocol.error_from_json(through(protocol.error_to_json(error)))
    assert type(back) is type(error)
    assert (back.message, back.hint, back.exit_code) == (error.message, error.hint, error.exit_code)
    assert getattr(back, "candidates", None) == getattr(error, "candidates", None)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"error": "text"},
        {"error": {"kind": "Sequence", "message": "m"}},
        {"error": {"kind": "annotations", "message": "m"}},
        {"error": {"kind": "__builtins__"}},
        {"error": {"kind": None}},
    ],
)
def test_an_answer_that_is_no_error_of_ours_is_a_daemon_error(raw: Any) -> None:
    assert type(protocol.error_from_json(raw)) is exceptions.DaemonError


def test_every_error_says_its_hint_on_a_line_of_its_own() -> None:
    assert str(exceptions.UsageError("what")) == "what"
    assert str(exceptions.UsageError("what", hint="then")) == "what\nthen"
    assert isinstance(exceptions.StateError("x"), ValueError)


def test_json_lines_are_one_object_a_line() -> None:
    assert protocol.lines([{"a": 1}, {"b": "\n"}]) == b'{"a":1}\n{"b":"\\n"}\n'
