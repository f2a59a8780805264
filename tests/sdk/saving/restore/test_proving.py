"""A flipped bit is never loaded, whoever wrote the file and however it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt.exceptions import CorruptError
from ckpt.saving.by_hand import load_checkpoint, save_checkpoint
from ckpt.saving.restore.proving import damage_of, while_proving


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("ours", [True, False])
def test_a_flipped_bit_in_a_file_without_a_marker_is_damage(ours: bool, tmp_path: Path) -> None:
    """Regression: torch reads it without a word, and the training went on with a weight of 1e19."""
    path, model = tmp_path / "a.pt", torch.nn.Linear(50, 50)
    if ours:
        save_checkpoint(path, {"model": model})
    else:
        torch.save({"model": model.state_dict()}, path)
    assert damage_of(path) is None
    flip(path, path.read_bytes().find(model.weight.detach().numpy().tobytes()) + 3)
    fresh = torch.nn.Linear(50, 50)
    before = fresh.weight.detach().clone()
    with pytest.raises(CorruptError, match="data/0 does not have the content that was written"):
        load_checkpoint(path, {"model": fresh})
    assert torch.equal(fresh.weight, before)
    load_checkpoint(path, {"model": fresh}, verify=False)
    assert not torch.equal(fresh.weight, model.weight)


def test_damage_explains_what_the_reader_stumbled_over(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(2, 2)})

    def stumbling() -> None:
        raise ValueError("strange")

    with pytest.raises(ValueError, match="strange"):
        while_proving(path, stumbling)
    flip(path, path.read_bytes().find(b"model_state_dict"))
    with pytest.raises(CorruptError, match=r"data\.pkl does not have the content"):
        while_proving(path, stumbling)
    with pytest.raises(FileNotFoundError):
        while_proving(tmp_path / "none.pt", lambda: (tmp_path / "none.pt").read_bytes())
