"""Retention on what other tools wrote: what goes, what stays, and that nothing else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def tree(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Every file below a directory: inode, size and modification time."""
    found = {}
    for path in sorted(directory.rglob("*")):
        info = path.lstat()
        found[str(path.relative_to(directory))] = (info.st_ino, info.st_size, info.st_mtime_ns if path.is_file() else 0)
    return found


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


def names(run: Path) -> list[str]:
    return sorted((path.name for path in run.iterdir()), key=lambda name: int("".join(filter(str.isdigit, name)) or 0))


def test_directories_of_other_tools_go_to_the_trash_of_their_root(world: Any, foreign: Any, enforced: Any) -> None:
    run = foreign.transformers()
    before = tree(foreign.base)
    enforced(keep_last=2)
    sweep(world)
    assert world.scanner.counts.last_error is None
    assert names(run) == ["checkpoint-40", "checkpoint-50"]
    assert sorted(path.name for path in foreign.base.iterdir()) == [".ckptd", "sft"]
    entries = world.get("/v1/trash")["entries"]
    assert sorted(Path(entry["path"]).name for entry in entries) == ["checkpoint-10", "checkpoint-20", "checkpoint-30"]
    assert all(entry["near_misses"] and entry["plan"] for entry in entries)
    acts = world.journal.acts()
    assert [act["kind"] for act in acts] == ["remove"] * 3
    assert all(act["plan"] and act["near_misses"] and act["bytes"] and act["inode"] for act in acts)
    world.post("/v1/undo")
    assert {name: facts for name, facts in tree(foreign.base).items() if not name.startswith(".ckptd")} == before
    sweep(world)
    assert len(names(run)) == 5, "what came back is pinned"
