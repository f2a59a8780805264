"""The answers of the API, without a server: what `ckptd run` serves on its socket and `ckptd once` prints.

One table for reads, one for changes, filled by the modules of `pages`. Their functions take plain parameters, return
plain data, raise errors of ckpt, and may be called from any thread. No read waits for a change, and no mark for a look
at the disk that somebody asked for.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from ckpt import protocol
from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.protocol import PARAMETERS
from ckptd.catalog.catalog import Catalog
from ckptd.catalog.renewal import Renewed
from ckptd.events import Events
from ckptd.keeping.keeper import Keeper
from ckptd.keeping.marking import Marking
from ckptd.keeping.undo import Undo
from ckptd.looking.scanner import Scanner
from ckptd.policies import Policies
from ckptd.roots.roots import Roots
from ckptd.serving.addresses import Addresses
from ckptd.serving.asked import Body, Change, Read
from ckptd.serving.pages.keeping import Keeping
from ckptd.serving.pages.looking import Looking
from ckptd.serving.pages.places import Places
from ckptd.serving.pages.policies import PolicyPages
from ckptd.serving.pages.saying import Saying
from ckptd.serving.pages.shapes import RootsShown, known
from ckptd.serving.pages.space import Room
from ckptd.serving.repeats import Repeats
from ckptd.space.space import Space


class NoSuchPage(UsageError):
    """A path that the API does not have."""


class Service:
    """All reads and changes over one catalog."""

    def __init__(
        self,
        catalog: Catalog,
        roots: Roots,
        scanner: Scanner,
        keeper: Keeper,
        marking: Marking,
        undo: Undo,
        events: Events,
        *,
        repeats: Repeats,
        space: Space,
        policies: Policies,
        daemon: Callable[[], dict[str, Any]],
        watch: Callable[[str | None], None] = lambda renewed: None,
        stop: Callable[[], None] = lambda: None,
        reload: Callable[[], dict[str, Any]] | None = None,
        foretell: Callable[[], dict[str, Any]] | None = None,
        rebuild: Callable[[], Renewed] | None = None,
    ) -> None:
        self._catalog = catalog
        self._repeats = repeats
        addresses = Addresses(catalog)
        shown = RootsShown(catalog, roots, space)
        looking = Looking(catalog, addresses, shown, events, daemon, keeper.asks)
        keeping = Keeping(addresses, keeper, undo)
        saying = Saying(catalog, addresses, marking)
        governing = PolicyPages(catalog, addresses, roots, policies, scanner, marking, events)
        places = Places(
            catalog,
            roots,
            policies,
            scanner,
            keeper,
            events,
            shown,
            watch=watch,
            stop=stop,
            reload=reload,
            foretell=foretell,
            rebuild=rebuild,
        )
        # Undo has to see the marks and removals that it chooses from stand still.
        marks, removals, roots_alone = threading.RLock(), threading.RLock(), threading.RLock()
        self._alone: dict[str, tuple[threading.RLock, ...]] = {
            "/v1/marks": (marks,),
            "/v1/policy": (marks,),
            "/v1/undo": (removals, marks),
            "/v1/apply": (removals,),
            "/v1/trash/restore": (removals,),
            "/v1/trash/purge": (removals,),
            "/v1/roots": (roots_alone,),
            "/v1/roots/remove": (roots_alone,),
            "/v1/reload": (roots_alone,),
        }
        topics = (looking, keeping, saying, governing, places, Room(catalog, addresses, keeper, space))
        self.reads: dict[str, Read] = {path: read for topic in topics for path, read in topic.reads.items()}
        self.changes: dict[str, Change] = {path: act for topic in topics for path, act in topic.changes.items()}

    def get(self, target: str) -> dict[str, Any]:
        """The answer to a read, as plain data; `target` is a path with its query."""
        answer: dict[str, Any] = msgspec.json.decode(self.get_json(target))
        return answer

    def get_json(self, target: str) -> bytes:
        """The same as it crosses the socket."""
        parts = urlsplit(target)
        page = self._page(self.reads, parts.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, encoding="utf-8", errors="surrogateescape"))
        parameters = PARAMETERS.get(parts.path, ())
        for name in query:
            if name not in parameters:
                raise UsageError(
                    f"{parts.path} has no parameter '{printable(name[:100])}'",
                    hint=f"it has: {', '.join(parameters)}" if parameters else "it has none",
                )
        return protocol.encode(page(query))

    def post(self, path: str, body: Body) -> dict[str, Any]:
        """The answer to a change; one that was made before under the same key is only answered again."""
        act = self._page(self.changes, path)

        def alone() -> dict[str, Any]:
            with contextlib.ExitStack() as held:
                for lock in self._alone.get(path, ()):
                    held.enter_context(lock)
                answer: dict[str, Any] = act(body)
                return answer

        return self._repeats.once(path, body, alone)

    def known(self) -> tuple[int, int]:
        """How many runs and checkpoints are known so far."""
        return known(self._catalog)

    def _page(self, table: Mapping[str, Any], path: str) -> Any:
        if path in table:
            return table[path]
        method = "GET" if path in self.reads else "POST" if path in self.changes else None
        hint = f"it answers to {method}" if method else "pages: " + ", ".join(sorted(table))
        raise NoSuchPage(f"there is no page {printable(path)}", hint=hint)
