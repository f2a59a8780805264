"""ResumableLoader: torch's DataLoader with a position."""

from __future__ import annotations


class ResumableLoader:
    """A DataLoader that tells its position and goes on there."""
