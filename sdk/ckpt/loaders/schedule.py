"""LoaderSchedule: several loaders in one order."""

from __future__ import annotations


class LoaderSchedule:
    """Several loaders in one order, which it tells and goes on in."""
