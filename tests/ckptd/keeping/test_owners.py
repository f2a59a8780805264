"""Two daemons on one machine, of two users or two state directories, and one root."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import OperationError
from ckpt.trash.owning import Owner

OTHER = "0" * 16


@pytest.fixture
def removed(world: Any, foreign: Any, enforced: Any) -> Path:
    """The root, three of its checkpoints in the trash."""
    foreign.transformers()
    enforced(keep_last=2)
    world.keeper.sweep([view.run.id for view in world.catalog.all()])
    base: Path = foreign.base
    return base


def test_another_state_directory_is_another_owner(
    world: Any, removed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CKPTD_STATE_HOME", str(tmp_path / "other"))
    ids = [item.entry.id for item in world.keeper.entries()]
    for path, body in (("/v1/undo", {}), ("/v1/trash/restore", {"ids": ids})):
        answer = world.post(path, **body)
        answer = answer.get("undone", answer)
        assert answer["restored"] == [] and len(answer["left"]) == 3
        assert "with another state directory" in answer["left"][0]["reason"]
    with pytest.raises(OperationError, match="is owned by another daemon of user") as caught:
        world.post("/v1/trash/purge", ids=ids)
    assert "--take-over" in str(caught.value.hint)
    with pytest.raises(OperationError, match="is enforced already by"):
        world.post("/v1/roots", path=str(removed), mode="enforce", policy={"keep_last": 1})
    assert len(world.keeper.entries()) == 3


def test_who_was_taken_over_purges_and_restores_nothing(world: Any, removed: Path, passes: Any) -> None:
    world.keeper.purge_due()
    Owner(removed / ".ckptd" / "owner.json").claim(OTHER, time.time(), take_over=True)
    passes(9e6)
    world.keeper.purge_due()
    world.keeper.make_room()
    assert len(world.keeper.entries()) == 3
    assert world.post("/v1/undo")["undone"]["restored"] == []
