"""What all carriers have in common."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

from ckpt.encoding import printable
from ckpt.writing.image import Image
from ckpt.writing.jobs import Failure, Job, Outcome

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


def performer(name: str) -> Perform:
    """The function of that name. Raises ImportError, AttributeError."""
    module, _, function = name.partition(":")
    found: Perform = getattr(import_module(module), function)
    return found


def failed(job: Job, error: BaseException) -> Outcome:
    """What came of a job whose performer raised, which none should."""
    message = f"{printable(job.stem)} could not be saved: {str(error) or type(error).__name__}"
    hint = "earlier checkpoints are untouched"
    return Outcome(number=job.number, failure=Failure(kind="failed", message=message, hint=hint))
