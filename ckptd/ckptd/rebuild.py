"""The catalog made anew while no daemon runs."""

from __future__ import annotations

from ckpt.paths import StatePaths, config_home, socket_path
from ckptd import config as config_module
from ckptd import lifecycle
from ckptd.catalog import Catalog
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.roots import Roots
from ckptd.scanner import Scanner


def rebuild_here() -> dict[str, int]:
    """Throws the catalog's files away and writes them from a full look; says how much there is.

    Raises LockedError when a daemon starts meanwhile, and OSError.
    """
    lifecycle.need_posix()
    state = StatePaths.here()
    lock = lifecycle.take_lock(state, socket_path())
    try:
        catalog = Catalog(state.catalog)
        roots = Roots(state.roots)
        roots.load(config_module.load(config_home()).roots)
        Scanner(roots, catalog, Events(Journal(None)), state).full()
        catalog.clear_files()
        state.catalog.mkdir(mode=0o700, parents=True, exist_ok=True)
        catalog.flush()
        views = catalog.all()
        return {"runs": len(views), "checkpoints": sum(len(view.checkpoints) for view in views)}
    finally:
        lock.release()
