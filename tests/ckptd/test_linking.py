"""What the symbolic links of all roots say of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt.scan import Links
from ckptd.linking import Linking


@pytest.fixture
def lab(world: Any, runs: Any, tmp_path: Path) -> Any:
    """An own run of three checkpoints below one root, and another root beside it."""
    runs.run("exp", checkpoints=3)
    (tmp_path / "papers").mkdir()
    world.roots.add(str(runs.base), "observe", [])
    world.roots.add(str(tmp_path / "papers"), "observe", [])
    world.scanner.full()
    return world


def test_links_of_every_root_are_told_as_seen_from_the_run_s_own(lab: Any, runs: Any, tmp_path: Path) -> None:
    saved = runs.base / "exp" / "checkpoints" / "step-000010.pt"
    (runs.base / "figure").symlink_to(saved)
    (tmp_path / "papers" / "icml").symlink_to(saved)
    for number in range(4):
        (tmp_path / "papers" / f"plot{number}").symlink_to(saved.with_name("step-000020.pt"))
    (tmp_path / "papers" / "run").symlink_to(saved.parents[1])
    lab.scanner.full()
    (view,) = lab.catalog.all()
    by_step = {c.step: view.situation.linked.get(c.id) for c in view.checkpoints}
    papers = str(tmp_path / "papers")
    assert set(by_step[10] or ()) == {f"{papers}/icml", "figure"}
    assert by_step[20] == tuple(f"{papers}/plot{number}" for number in range(3))
    assert by_step[30] is None, "a link to the run means none of its checkpoints"
    (tmp_path / "papers" / "icml").unlink()
    for number in range(4):
        (tmp_path / "papers" / f"plot{number}").unlink()
    lab.scanner.full()
    (view,) = lab.catalog.all()
    assert view.situation.linked == {next(c.id for c in view.checkpoints if c.step == 10): ("figure",)}


def test_nothing_is_worked_out_again_while_nothing_changes(
    lab: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    to = Links.to

    def ask(self: Links, *args: Any) -> Any:
        asked.append(args)
        return to(self, *args)

    monkeypatch.setattr(Links, "to", ask)
    linking = Linking(lab.roots)
    (view,) = lab.catalog.all()
    assert linking.of(view) == {}
    assert not asked, "no link leads to it"
    (runs.base / "figure").symlink_to("exp/checkpoints/step-000010.pt")
    lab.scanner.full()
    (view,) = lab.catalog.all()
    asked.clear()
    assert linking.of(view) == linking.of(view) != {}
    assert len(asked) == 1
    linking.forget(view.run.path)
    linking.of(view)
    assert len(asked) == 2
