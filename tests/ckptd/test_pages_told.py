"""Every page is told where people look: in the protocol's table and in the document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ckpt import protocol

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
TABLE = protocol.__doc__ or ""


def rows(text: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, text, re.MULTILINE))


def test_every_page_stands_in_the_protocol_and_in_the_document(world: Any) -> None:
    reads, changes = TABLE.split("Changes (POST")
    told = DOCUMENT.split("## Changes")
    for pages, table, section in (
        (world.service.reads, reads, told[0]),
        (world.service.changes, changes, told[1].split("## Errors")[0]),
    ):
        assert rows(table, r"^    (/v1/[a-z/]+)") == set(pages)
        assert rows(section, r"^\| `(/v1/[a-z/]+)") == set(pages)


def test_every_parameter_is_told(world: Any) -> None:
    assert set(protocol.PARAMETERS) <= set(world.service.reads)
    for page, names in protocol.PARAMETERS.items():
        for name in names:
            assert re.search(rf"\b{name}\b", DOCUMENT), f"{page} takes {name}"


def test_every_kind_of_event_is_told() -> None:
    from ckptd import events

    kinds = set(re.findall(r"\b[a-z]+\.[a-z]+\b|\bmark\b|\bstate\b", (events.__doc__ or "").partition("\n\n")[2]))
    section = DOCUMENT.split("## Events")[1].split("## Limits")[0]
    assert kinds <= set(re.findall(r"`([a-z.]+)`", section))
    assert len(kinds) > 15


def test_the_limits_are_told() -> None:
    from ckptd import events
    from ckptd.serving import api, connections, repeats, requests

    limits = DOCUMENT.split("## Limits")[1]
    for text in (
        f"{connections.CONNECTIONS_MAX} connections",
        f"{connections.HEAD_MAX >> 10} KiB and take {connections.HEAD_S:g} s",
        f"{requests.BODY_MAX >> 20} MiB and {requests.BODY_S:g} s",
        f"read for {connections.UNREAD_S:g} s",
        f"up to {api.FIRST_LOOK_S:g} s",
    ):
        assert text in " ".join(limits.split()), text
    for text in (f"{repeats.REMEMBERED} keys", f"{repeats.KEY_MAX} characters", f"{events.REMEMBERED:,} events"):
        assert text.replace(",", " ") in " ".join(DOCUMENT.split()), text
