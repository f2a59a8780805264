"""Pages by which the user says something: marks of checkpoints."""

from __future__ import annotations

from typing import Any

from ckptd.catalog.catalog import Catalog
from ckptd.keeping.marking import Marking
from ckptd.serving.addresses import Addresses
from ckptd.serving.asked import Body, Change, Read, text
from ckptd.serving.pages.shapes import named


class Saying:
    """Writes what the user says, and answers with what it makes of the run."""

    def __init__(self, catalog: Catalog, addresses: Addresses, marking: Marking) -> None:
        self._catalog = catalog
        self._addresses = addresses
        self._marking = marking
        self.reads: dict[str, Read] = {}
        self.changes: dict[str, Change] = {"/v1/marks": self._mark}

    def _mark(self, body: Body) -> dict[str, Any]:
        view, checkpoint = self._addresses.checkpoint(text(body, "ref"))
        self._marking.mark(view, checkpoint, text(body, "kind"), body)
        fresh = self._catalog.at(view.run.path) or view
        marked = next((c for c in fresh.checkpoints if c.id == checkpoint.id), checkpoint)
        return named(fresh, marked)
