"""Pages about room: what runs take, and the disks that they lie on."""

from __future__ import annotations

from typing import Any

from ckpt.scan.usage import disk_to_json, usage_to_json
from ckptd.catalog.catalog import Catalog
from ckptd.keeping.keeper import Keeper
from ckptd.serving.addresses import Addresses
from ckptd.serving.asked import Change, Params, Read
from ckptd.space.space import Space


class Room:
    """Reads over the catalog, the trashes and the disks."""

    def __init__(self, catalog: Catalog, addresses: Addresses, keeper: Keeper, space: Space) -> None:
        self._catalog = catalog
        self._addresses = addresses
        self._keeper = keeper
        self._space = space
        self.reads: dict[str, Read] = {"/v1/du": self._usage}
        self.changes: dict[str, Change] = {}

    def _usage(self, params: Params) -> dict[str, Any]:
        name = params.get("run")
        one = self._addresses.run(name) if name else None
        views = self._catalog.all() if one is None else [one]
        trashed: dict[str, int] = {}
        for item in self._keeper.entries(None if one is None else one.run.id):
            trashed[item.run_id] = trashed.get(item.run_id, 0) + item.entry.bytes
        return {**usage_to_json(views, trashed), "disks": self._disks([view.run.path for view in views])}

    def _disks(self, paths: list[str]) -> list[dict[str, Any]]:
        """The disks that some runs lie on."""
        found: dict[int, dict[str, Any]] = {}
        for path in paths:
            disk = self._space.of(path)
            if disk.device is not None and disk.device not in found:
                found[disk.device] = disk_to_json(
                    path,
                    free=disk.free_bytes,
                    total=disk.total_bytes,
                    full_in_s=disk.full_in_s,
                    filling=disk.filling,
                )
        return list(found.values())
