"""What a request's RUN and REF stand for in the catalog: a path, an id, or an address."""

from __future__ import annotations

import os
from pathlib import Path

from ckpt import refs, scan
from ckpt.encoding import printable
from ckpt.exceptions import AddressError
from ckpt.records import Checkpoint
from ckpt.scan import RunView
from ckptd.catalog.catalog import Catalog


class Addresses:
    """Finds runs and checkpoints by what people call them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def run(self, name: str) -> RunView:
        """The run that an address, a path or an id names. Raises AddressError."""
        views = self._catalog.all()
        place = self._place(name)
        if place is not None:
            return place[0]
        run = refs.find_run(name, [view.run for view in views])
        view = self._catalog.get(run.id)
        if view is None:
            raise AddressError(f"run '{printable(name)}' has just gone")
        return view

    def checkpoint(self, ref: str) -> tuple[RunView, Checkpoint]:
        """The checkpoint that a text names, with its run. Raises AddressError."""
        place = self._place(ref)
        if place is not None:
            view, file = place
            if file is None:
                return view, refs.select(None, view.checkpoints, view.run)
            for checkpoint in view.checkpoints:
                if str(file) == checkpoint.path or str(file) in checkpoint.files:
                    return view, checkpoint
            raise AddressError(f"{printable(ref)} is no checkpoint of run '{printable(view.run.name)}'")
        by_id = self._by_id(ref)
        if by_id is not None:
            return by_id
        address = refs.parse(ref)
        view = self.run(address.run)
        return view, refs.select(address.selector, view.checkpoints, view.run)

    def _by_id(self, ref: str) -> tuple[RunView, Checkpoint] | None:
        if not 6 <= len(ref) <= 12 or not all(char in "0123456789abcdef" for char in ref):
            return None
        found = self._catalog.named(ref)
        if len(found) > 1:
            names = [f"{v.run.path}@{c.id}" for v, c in found]
            raise AddressError(
                f"{ref!r} names {len(found)} checkpoints",
                hint="say which: " + ", ".join(printable(name) for name in names[:8]),
                candidates=names,
            )
        return found[0] if found else None

    def _place(self, ref: str) -> tuple[RunView, Path | None] | None:
        """What an existing absolute path stands for; None when `ref` is none."""
        if not os.path.isabs(ref) or not os.path.lexists(ref):
            return None
        directory, file = scan.run_of(Path(ref))
        # A directory that is named like a part of a run is a run itself where it is a root.
        part = Path(ref) if file is None else file.parent
        for base, path in (
            (directory, str(directory)),
            (directory, os.path.realpath(directory)),
            (part, os.path.realpath(part)),
            # A checkpoint directory that is a root is a run of itself.
            *(() if file is None else ((file, os.path.realpath(file)),)),
        ):
            view = self._catalog.at(path)
            if view is not None:
                return view, None if file is None else Path(path) / os.path.relpath(file, base)
        raise AddressError(f"{printable(ref)} is not watched", hint=f"watch it: ckpt watch add {printable(ref)}")
