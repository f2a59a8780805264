"""The save of a training that an exception ends: it never stands in the way of that exception."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ckpt.encoding import printable
from ckpt.saving.handle import SavedCheckpoint
from ckpt.telling import one_line

log = logging.getLogger("ckpt.saving")


def save_last(
    error: BaseException, save: Callable[[], SavedCheckpoint | None], within_s: float
) -> SavedCheckpoint | None:
    """Saves, waits until it is durable, and returns the handle; raises nothing.

    A save that fails, is interrupted or takes longer than `within_s` seconds is logged and noted at the exception.
    """
    try:
        handle = save()
        if handle is None:
            return None
        if not handle.staged:
            handle.result(within_s)
    except BaseException as failure:  # noqa: BLE001  a second Ctrl-C ends the wait, and the first error goes its way
        problem = f"the training could not be saved after it: {one_line(failure)}"
        error.add_note(printable(problem))
        log.error("%s: %s", type(error).__name__, printable(problem))
        return None
    log.warning("%s ended the training, which is saved as %s", type(error).__name__, printable(handle.path.name))
    return handle
