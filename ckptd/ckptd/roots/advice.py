"""What a person should know about a root that fares well otherwise. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt.encoding import printable, quoted

MANY_DIRECTORIES = 20_000  # directories below a root above which looking at it costs something
_NAMED = 3  # directories that a warning names


def root_warnings(
    path: str,
    *,
    directories: int | None,
    links: Sequence[tuple[str, str]],
    unreadable: Sequence[str],
    missing: Sequence[str],
) -> list[str]:
    """Sentences, each with what to do. `missing` are mount points whose file systems are gone."""
    told: list[str] = []
    if directories is not None and directories > MANY_DIRECTORIES:
        told.append(
            f"it has {directories} directories, which makes every look slow; watch a narrower one, or leave some out "
            f"with `ckpt watch add {quoted(path)} --exclude GLOB`"
        )
    for link, target in links[:_NAMED]:
        told.append(
            f"{printable(link)} is a link to {printable(target)}, which holds runs; links are not followed: "
            f"`ckpt watch add {quoted(target)}`"
        )
    if len(links) > _NAMED:
        told.append(f"{len(links) - _NAMED} more links lead to runs outside; `ckpt status --json` lists them")
    if unreadable:
        named = ", ".join(printable(directory) for directory in unreadable[:_NAMED])
        more = f" and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
        told.append(f"{named}{more} cannot be read; runs known there stay as they were: check its permissions")
    for point in missing:
        told.append(
            f"the file system at {printable(point)} is not mounted; its runs stay as they were: mount it, or "
            f"`ckpt watch add {quoted(path)}` takes them as gone"
        )
    return told
