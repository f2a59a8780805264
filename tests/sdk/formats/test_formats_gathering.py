"""Members of a checkpoint directory that are read together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt.formats import bounded_json
from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.members import merged
from ckpt.formats.directories.folder import Folder
from ckpt.formats.reading import family_of
from ckpt.formats.source import Damaged


def test_a_member_that_is_no_object_is_damage_also_beside_one_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "large.json").write_bytes(b"{" + b" " * bounded_json.MAX_ASCII_BYTES + b"}")
    (tmp_path / "null.json").write_bytes(b"null")
    (tmp_path / "whole.json").write_bytes(b'{"a": 1}')
    with Folder(str(tmp_path), family_of) as folder:
        gathering = Gathering(folder)
        assert (gathering.mapping("large.json"), gathering.mapping("whole.json")) == ({}, {"a": 1})
        assert len(gathering.omitted) == 1
        with pytest.raises(Damaged, match=r"null\.json is not a JSON object"):
            gathering.mapping("null.json")


def test_a_tensor_that_two_members_hold_is_damage(tmp_path: Path) -> None:
    for name, tensor in (("a", "x"), ("b", "y"), ("c", "x")):
        save_file({tensor: torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    with Folder(str(tmp_path), family_of) as folder:
        gathering = Gathering(folder)
        assert set(merged(gathering, ["a.safetensors", "b.safetensors"])) == {"x", "y"}
        with pytest.raises(Damaged, match=r"c\.safetensors holds tensors that another file holds too"):
            merged(gathering, ["a.safetensors", "b.safetensors", "c.safetensors"])
