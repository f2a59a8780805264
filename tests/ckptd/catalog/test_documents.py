from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinydb import TinyDB
from tinydb.table import Document

from ckpt.records import Checkpoint, Lineage, Run
from ckpt.retention import FOREIGN, OWN, Policy, plan
from ckpt.scan import RunView, Wishes
from ckptd.catalog.documents import DocumentStorage, from_document, to_document
from ckptd.catalog.sameness import alike, same

# Every text of Python, also what file names that are not UTF-8 become.
texts = st.one_of(
    st.sampled_from(
        ["", "NaN", "Infinity", "null", "true", "3", "$text", "$items", "\udce9", "\ud800\udc00", "caf\udce9/x"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.text(max_size=12),
)
floats = st.floats(allow_nan=True, allow_infinity=True)
wholes = st.one_of(st.none(), st.integers(-(2**80), 2**80))
plain = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**80), 2**80), st.floats(allow_nan=False, allow_infinity=False), texts
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
checkpoints = st.builds(
    Checkpoint,
    id=texts,
    run=st.just("r"),
    path=texts,
    framework=texts,
    state=st.sampled_from(["writing", "complete", "incomplete", "corrupt", "trashed"]),
    seq=wholes,
    step=wholes,
    epoch=st.one_of(st.none(), floats),
    loss=st.one_of(st.none(), floats),
    learning_rate=st.one_of(st.none(), floats),
    metrics=st.dictionaries(texts, floats, max_size=4),
    saved_at=floats,
    tags=st.lists(texts, max_size=2).map(tuple),
    pinned=st.booleans(),
    note=st.one_of(st.none(), texts),
    label=st.one_of(st.none(), texts),
    files=st.lists(texts, max_size=2).map(tuple),
    problems=st.lists(texts, max_size=2).map(tuple),
    held_by=st.lists(texts, max_size=2).map(tuple),
)
runs = st.builds(
    Run,
    id=st.just("r"),
    name=texts,
    root=texts,
    path=texts,
    own=st.booleans(),
    parent=st.one_of(st.none(), st.builds(Lineage, run=texts, path=st.one_of(st.none(), texts))),
    updated_at=floats,
    monitor=st.one_of(st.none(), texts),
    config=st.dictionaries(texts, plain, max_size=3),
    epoch=st.one_of(st.none(), floats),
    loss=st.one_of(st.none(), floats),
    problems=st.lists(texts, max_size=2).map(tuple),
)
policies = st.builds(
    Policy, keep_last=st.one_of(st.none(), st.integers(1, 9)), monitor=st.one_of(st.none(), texts.filter(str.strip))
)


def through_a_file(view: RunView) -> RunView:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "run.json"
        document = Document(to_document(view, "1", "signature"), doc_id=1)
        TinyDB(path, storage=DocumentStorage, access_mode="w").table("runs").insert(document)
        json.loads(path.read_bytes(), parse_constant=lambda name: pytest.fail(f"{name} in the file"))
        found = TinyDB(path, storage=DocumentStorage).table("runs").get(doc_id=1)
    assert isinstance(found, Document)
    assert (found["version"], found["signature"]) == ("1", "signature")
    return from_document(found)


@settings(deadline=None, max_examples=200)
@given(runs, st.lists(checkpoints, max_size=4, unique_by=lambda c: c.id), policies)
def test_what_comes_back_is_what_was_written(run: Run, listed: list[Checkpoint], policy: Policy) -> None:
    situation = OWN if run.own else FOREIGN
    view = RunView(
        run=run,
        checkpoints=tuple(listed),
        plan=plan(listed, policy, 0.0, situation=situation),
        wishes=Wishes(own=policy.to_json()),
        situation=situation,
    )
    again = through_a_file(view)
    assert same(again, view)
    assert alike(again.wishes, view.wishes)
    assert again.plan.policy == view.plan.policy


def test_metrics_named_like_the_signs_of_a_document_stay_metrics() -> None:
    odd = Checkpoint(id="0", run="r", path="/x/caf\udce9.pt")
    signs = [Checkpoint(id=name, run="r", path="/x", metrics={name: 0.5}) for name in ("$text", "$items")]
    run = Run(id="r", name="", root="", path="/x", own=True)
    view = RunView(run=run, checkpoints=(odd, *signs), plan=plan([odd, *signs], Policy(), 0.0))
    assert same(through_a_file(view), view)


def test_equal_texts_of_a_run_are_one_object() -> None:
    path = "/x/exp/checkpoints/step-1.pt"
    checkpoint = Checkpoint(id="1", run="r" * 32, path=path, files=(path, path[:-3] + ".json"))
    run = Run(id="r" * 32, name="exp", root="/x", path="/x/exp", own=True)
    again = through_a_file(RunView(run=run, checkpoints=(checkpoint,), plan=plan([checkpoint], Policy(), 0.0)))
    assert again.checkpoints[0].run is again.run.id
    assert again.checkpoints[0].files[0] is again.checkpoints[0].path
    assert again.plan.keep[0].checkpoint is again.checkpoints[0]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        (3, 3.0, True),
        ({"a": (math.nan,)}, {"a": (math.nan,)}, True),
        ({"a": math.nan}, {"b": math.nan}, False),
        ([math.nan], (math.nan,), False),
        ([math.nan, 1], [math.nan], False),
        (Lineage(run="a"), Lineage(run="b"), False),
    ],
)
def test_a_nan_equals_a_nan_and_nothing_else_changes(one: Any, other: Any, equal: bool) -> None:
    assert alike(one, other) is alike(other, one) is equal


def test_equal_sizes_by_kind_are_one_object_after_reading(tmp_path: Path) -> None:
    kinds = {"weights": 10, "optimizer": 20}
    made = tuple(Checkpoint(id=f"{n}" * 12, run="r", path=f"/r/{n}.pt", kinds=dict(kinds)) for n in range(1, 5))
    run = Run(id="r", name="r", root="/", path="/r", own=True, unique_bytes=7)
    view = RunView(run=run, checkpoints=made, plan=plan(made, Policy(), 0.0))
    storage = DocumentStorage(tmp_path / "x.json")
    storage.write({"runs": {"1": to_document(view, "1", None)}})
    read = storage.read()
    assert read is not None
    again = from_document(read["runs"]["1"])
    assert again.run.unique_bytes == 7 and again.checkpoints[0].kinds == kinds
    assert len({id(checkpoint.kinds) for checkpoint in again.checkpoints}) == 1
