"""What files state about their own bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt.formats.checksums import stated
from ckpt.formats.source import Damaged, Source


def test_files_that_lie_in_a_file_state_what_they_state_alone(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(8.0)}, tmp_path / "one.pt")
    raw = (tmp_path / "one.pt").read_bytes()
    (tmp_path / "both").write_bytes(raw + raw)
    with Source(tmp_path / "one.pt") as one, Source(tmp_path / "both") as both:
        alone = stated(one)
        found = stated(both, [(0, len(raw)), (len(raw), len(raw))])
        assert [part.start for part in found] == [part.start + at for at in (0, len(raw)) for part in alone]
        assert [part.crc for part in found] == [part.crc for part in alone] * 2
        with pytest.raises(Damaged, match="overlaps what lies before it"):
            stated(both, [(0, len(raw)), (len(raw) - 1, len(raw))])
