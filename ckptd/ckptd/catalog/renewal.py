"""The catalog made anew, from the disk, the marks and the journal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt.paths import StatePaths
from ckptd.catalog import lost_marks
from ckptd.catalog.catalog import Catalog
from ckptd.journal import Journal
from ckptd.looking.scanner import Scanner


@dataclass(frozen=True)
class Renewed:
    """What there is now, and what was done."""

    read: set[str]
    """Ids of the runs that were read."""
    runs: int
    checkpoints: int
    marks: tuple[str, ...]
    """Whose marks were restored, and why, for people."""

    def to_json(self) -> dict[str, Any]:
        """`ckptd rebuild --json`."""
        return {"runs": self.runs, "checkpoints": self.checkpoints, "marks": list(self.marks)}


def renew(scanner: Scanner, catalog: Catalog, journal: Journal, state: StatePaths) -> Renewed:
    """Reads everything anew, gives lost marks back, and writes all of the catalog.

    What the user said lies apart from it and stays. Raises OSError when something cannot be written.
    """
    read = scanner.anew()
    foreign = {view.run.id: view for view in catalog.all() if not view.run.own}
    restored = lost_marks.restore(state, journal, foreign.values())
    for one in restored:
        if one.lines:
            scanner.read(Path(foreign[one.run].run.path))
    catalog.renew()
    views = catalog.all()
    return Renewed(
        read=read,
        runs=len(views),
        checkpoints=sum(len(view.checkpoints) for view in views),
        marks=tuple(lost_marks.describe(one, foreign[one.run].run.name) for one in restored),
    )
