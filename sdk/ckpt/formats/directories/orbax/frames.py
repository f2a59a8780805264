"""Decompresses Zstandard frames of foreign files within a bound."""

from __future__ import annotations

from ckpt.formats.source import Damaged, TooLarge

_MAX_WINDOW = 8 << 20  # what decompressing may keep in memory; only the highest levels of zstd ask for more


def decompressed(name: str, raw: bytes, limit: int) -> bytes:
    """The content of a frame. Raises Damaged for what is none, TooLarge for one of more than `limit` bytes."""
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(raw) as reader:
            content = reader.read(limit + 1)
    except (zstandard.ZstdError, MemoryError) as error:
        raise Damaged(f"{name} cannot be decompressed: {error}") from None
    if len(content) > limit:
        raise TooLarge(f"{name} decompresses to more than {limit} bytes")
    return content
