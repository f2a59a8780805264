"""Changes under a key: who asks twice is answered twice, and the act happens once.

Keys live as long as the daemon, and those of `JOURNALED` pages longer: for these a repeat after a restart would act
upon something else.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ckpt.encoding import printable
from ckpt.exceptions import LockedError, OperationError, UsageError
from ckptd.journal import Journal

JOURNALED = frozenset({"/v1/undo"})
REMEMBERED = 1000
KEY_MAX = 200  # characters

Answer = dict[str, Any]


class KeyTaken(LockedError):
    """A key that stands for another request."""


@dataclass
class _Request:
    digest: str
    answer: Future[Answer] = field(default_factory=Future)


class Repeats:
    """Remembers requests by their keys. May be used from several threads."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._requests: dict[str, _Request] = {}
        for line in journal.acts():
            if line.get("kind") == "asked":
                request = _Request(str(line.get("digest")))
                what = f"the daemon ended while it answered this request to {printable(str(line.get('page')))}"
                hint = "see what was done with `ckpt events`, then ask again under a new key"
                request.answer.set_exception(OperationError(what, hint=hint))
                self._remember(str(line.get("key")), request)
            elif line.get("kind") == "answered" and isinstance(line.get("answer"), dict):
                request = _Request(str(line.get("digest")))
                request.answer.set_result(line["answer"])
                self._remember(str(line.get("key")), request)
            elif line.get("kind") == "failed":
                self._requests.pop(str(line.get("key")), None)

    def once(self, page: str, body: Mapping[str, Any], act: Callable[[], Answer]) -> Answer:
        """What `act` answers; when `body` has a key that was heard before, what it answered then.

        An act that fails is not remembered: asking again acts again. Raises what `act` raises, UsageError for a key
        that is none, KeyTaken for one that stands for another request, and OperationError for one whose act was cut
        short by the end of an earlier daemon.
        """
        if body.get("key") is None:
            return act()
        key = body["key"]
        if not isinstance(key, str) or not 0 < len(key) <= KEY_MAX:
            raise UsageError(f"'key' has to be a text of up to {KEY_MAX} characters")
        digest = _digest(page, body)
        with self._lock:
            known = self._requests.get(key)
            if known is None:
                mine = self._remember(key, _Request(digest))
        if known is not None:
            if known.digest != digest:
                raise KeyTaken(
                    f"the key '{printable(key)}' stands for another request", hint="give each change a key of its own"
                )
            return known.answer.result()
        try:
            answer = self._journaled(key, digest, page, act) if page in JOURNALED else act()
        except BaseException as error:
            with self._lock:
                self._requests.pop(key, None)
            mine.answer.set_exception(error)
            raise
        mine.answer.set_result(answer)
        return answer

    def _journaled(self, key: str, digest: str, page: str, act: Callable[[], Answer]) -> Answer:
        self._journal.record("asked", page=page, key=key, digest=digest)
        try:
            answer = act()
        except Exception:
            with contextlib.suppress(OSError):
                self._journal.record("failed", page=page, key=key)
            raise
        # The act is done: a full disk costs no more than its answer to a repeat after a restart.
        with contextlib.suppress(OSError):
            self._journal.record("answered", page=page, key=key, digest=digest, answer=answer)
        return answer

    def _remember(self, key: str, request: _Request) -> _Request:
        self._requests.pop(key, None)
        self._requests[key] = request
        if len(self._requests) > REMEMBERED:
            # One that is still being answered is kept: others may wait for it.
            done = next((old for old, one in self._requests.items() if one.answer.done()), None)
            if done is not None:
                del self._requests[done]
        return request


def _digest(page: str, body: Mapping[str, Any]) -> str:
    asked = {name: value for name, value in body.items() if name != "key"}
    return hashlib.sha256(msgspec.json.encode([page, asked], order="deterministic")).hexdigest()
