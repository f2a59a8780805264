"""The body of a request: a JSON object of bounded size that arrives in time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request

from ckpt import encoding
from ckpt.exceptions import UsageError

BODY_MAX = 1 << 20  # bytes
BODY_S = 20.0
"""Seconds that a body may take to arrive."""


class BadFraming(UsageError):
    """A request whose end cannot be told."""


class TooLarge(UsageError):
    """A body of more than BODY_MAX bytes."""


class TooSlow(UsageError):
    """A body that did not arrive within BODY_S."""


def refuse_body(request: Request) -> None:
    """Raises BadFraming for a read that brings a body: nobody would look at it."""
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise BadFraming("a read has no body", hint="put what is asked for into the query; changes are POST")


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body; {} when it has none.

    Raises BadFraming, TooLarge, TooSlow, and UsageError for what is no JSON object.
    """
    if "content-length" in request.headers and "transfer-encoding" in request.headers:
        raise BadFraming("a request has either a content-length or a transfer-encoding, not both")
    if int(request.headers.get("content-length", "0")) > BODY_MAX:
        raise TooLarge(f"a request may have {BODY_MAX} bytes")
    try:
        data = await asyncio.wait_for(_read(request), BODY_S)
    except TimeoutError:
        raise TooSlow(f"the body did not arrive within {BODY_S:g} s") from None
    return _object(data)


async def _read(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_MAX:
            raise TooLarge(f"a request may have {BODY_MAX} bytes")
    return bytes(data)


def _object(data: bytes) -> dict[str, Any]:
    example = 'for example: {"ref": "exp3@best", "kind": "pin"}'
    try:
        # The first knows UTF-8 and the range of numbers; only the second shows a name that stands twice.
        value = encoding.loads(data or b"{}")
        json.loads(data or b"{}", object_pairs_hook=_names_once)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {str(error)[:200]}", hint=example) from None
    if not isinstance(value, dict):
        raise UsageError("the body has to be a JSON object", hint=example)
    return value


def _names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name '{encoding.printable(twice)}' stands twice in an object")
    return seen
