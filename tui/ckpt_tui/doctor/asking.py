"""Questions that may never be answered: a hung mount, a daemon that is stopped. None is waited for longer than told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


def ask_all(asks: Mapping[Key, Callable[[], Answer]], seconds: float) -> dict[Key, Answer | Exception]:
    """Asks everything at once; what was raised, or TimeoutError, stands in the place of an answer.

    What did not answer goes on in a thread that the end of the process does not wait for.
    """
    answers: dict[Key, Answer | Exception] = {}

    def put(key: Key, ask: Callable[[], Answer]) -> None:
        try:
            answers[key] = ask()
        except Exception as error:  # noqa: BLE001  the asker is told, whatever it is
            answers[key] = error

    threads = [threading.Thread(target=put, args=pair, daemon=True) for pair in asks.items()]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = TimeoutError(f"no answer within {seconds:g} s")
    return {key: answers.get(key, late) for key in asks}


def ask(question: Callable[[], Answer], seconds: float) -> Answer | Exception:
    """One question, as `ask_all`."""
    return ask_all({"": question}, seconds)[""]
