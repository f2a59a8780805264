from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from ckpt import scan
from ckpt.exceptions import DaemonError
from ckpt.records import Checkpoint, Run
from ckpt.retention import Policy, plan
from ckpt.scan import RunView
from ckptd.catalog import SCHEMA, Catalog, same


def view(path: str = "/x/exp", *, run: str = "a" * 32, **fields: Any) -> RunView:
    checkpoints = [
        Checkpoint(
            id=f"{step:012x}",
            run=run,
            path=f"{path}/checkpoints/step-{step}.pt",
            files=(f"{path}/checkpoints/step-{step}.pt",),
            seq=step,
            step=step,
            loss=loss,
            metrics={"acc": loss},
        )
        for step, loss in ((1, math.nan), (2, 0.5), (3, math.inf))
    ]
    return RunView(
        run=Run(id=run, name="exp", root="/x", path=path, own=True, **fields),
        checkpoints=tuple(checkpoints),
        plan=plan(checkpoints, Policy(keep_last=1), 0.0),
    )


def test_a_restart_knows_everything_bit_for_bit(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog")
    catalog.load()
    odd = view("/x/caf\udce9")
    catalog.put(odd)
    assert catalog.flush() == 1
    again = Catalog(tmp_path / "catalog")
    assert again.load() == []
    found = again.at("/x/caf\udce9")
    assert found is not None
    assert same(found, odd)
    assert found.plan.remove == odd.plan.remove or repr(found.plan.remove) == repr(odd.plan.remove)
    assert len(found.plan.remove) == 1


def test_files_are_plain_json_under_the_rules_of_the_disk(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view())
    catalog.flush()
    text = (tmp_path / f"{'a' * 32}.json").read_text("utf-8")
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the file"))
    assert document["runs"]["1"]["schema"] == SCHEMA
    assert '"NaN"' in text
    assert '"Infinity"' in text


def test_what_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view())
    assert catalog.flush() == 1
    catalog.put(view())
    assert catalog.flush() == 0
    catalog.put(view(status="failed"))
    assert catalog.flush() == 1


def test_a_damaged_file_is_moved_aside_and_the_others_are_read(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view())
    catalog.put(view("/x/other", run="b" * 32))
    catalog.flush()
    broken = tmp_path / f"{'a' * 32}.json"
    broken.write_bytes(broken.read_bytes()[:100])
    again = Catalog(tmp_path)
    assert again.load() == [broken.name]
    assert [v.run.path for v in again.all()] == ["/x/other"]
    assert not broken.exists()
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1


@pytest.mark.parametrize("document", [{"view": {}}, {"schema": 1, "view": {"run": 3}}, {"schema": 1, "view": None}])
def test_another_shape_is_moved_aside_too(tmp_path: Path, document: dict[str, Any]) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"runs": {"1": document}}))
    assert Catalog(tmp_path).load() == ["x.json"]


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"runs": {"1": {"schema": SCHEMA + 1, "view": {}}}}))
    with pytest.raises(DaemonError, match="newer ckptd"):
        Catalog(tmp_path).load()
    assert path.exists()


def test_a_forgotten_run_leaves_no_file(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.put(view())
    catalog.flush()
    catalog.remove("a" * 32)
    catalog.flush()
    assert list(tmp_path.iterdir()) == []
    assert catalog.at("/x/exp") is None


def test_a_copied_run_gets_an_id_of_its_own_and_keeps_it(tmp_path: Path, runs: Any) -> None:
    first = runs.run("exp1", checkpoints=2)
    shutil.copytree(first, tmp_path / "runs" / "copy")
    catalog = Catalog(None)
    _, original = catalog.put(scan.read_run(first))
    _, copy = catalog.put(scan.read_run(tmp_path / "runs" / "copy"))
    _, once_more = catalog.put(scan.read_run(tmp_path / "runs" / "copy"))
    assert copy.run.id != original.run.id
    assert once_more.run.id == copy.run.id
    assert "a copy" in copy.run.problems[0]
    assert {c.run for c in copy.checkpoints} == {copy.run.id} == {d.checkpoint.run for d in copy.plan.keep}
    assert len(catalog.all()) == 2


def test_a_moved_run_keeps_its_id(tmp_path: Path, runs: Any) -> None:
    first = runs.run("exp1", checkpoints=1)
    catalog = Catalog(None)
    _, before = catalog.put(scan.read_run(first))
    first.rename(tmp_path / "runs" / "moved")
    _, after = catalog.put(scan.read_run(tmp_path / "runs" / "moved"))
    assert after.run.id == before.run.id
    assert [v.run.path for v in catalog.all()] == [str(tmp_path / "runs" / "moved")]
