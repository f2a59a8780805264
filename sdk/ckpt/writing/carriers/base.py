"""What all carriers have in common."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

from ckpt.writing.image import Image
from ckpt.writing.jobs import Job, Outcome

Done = Callable[[Outcome], None]
Tell = Callable[[str], None]
Perform = Callable[[Job, Image, Tell], Outcome]

PERFORM = "ckpt.writing.performing:perform"
"""Who does the work, as `module:function`: a name, because a process of its own imports it for itself."""


class Carrier(Protocol):
    """Performs jobs, in the order in which they are submitted."""

    def submit(self, job: Job, image: Image, done: Done) -> None:
        """Has a job performed; `done` is called exactly once, from any thread. The image must stay as it is till then.

        Raises RuntimeError when the carrier was closed.
        """

    def close(self, timeout_s: float | None = None) -> None:
        """Waits for what was submitted and ends; may be called twice. Raises TimeoutError, and can be called again."""

    @property
    def process_id(self) -> int | None:
        """The process that writes, when it is one of its own and alive."""


def performer(name: str) -> Perform:
    """The function of that name. Raises ImportError, AttributeError."""
    module, _, function = name.partition(":")
    found: Perform = getattr(import_module(module), function)
    return found
