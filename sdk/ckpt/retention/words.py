"""Moments and shares as the reasons of a plan say them."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(time: float) -> str:
    """Unix seconds as `2026-11-23 14:05:12 UTC`."""
    try:
        return f"{datetime.fromtimestamp(time, UTC).isoformat(' ', 'seconds')[:-6]} UTC"
    except (OverflowError, OSError, ValueError):
        return f"{time:g} s after 1970"


def percent(share: float) -> str:
    """A share of one as `74 %`."""
    return f"{100 * share:.3g} %"
