"""The rank of a process and how many train with it: told by torch.distributed, else by the environment."""

from __future__ import annotations

import pytest
import torch.distributed as dist

from ckpt.runs.rank import rank, world_size


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
        ({"RANK": "", "WORLD_SIZE": "many"}, (0, 1)),
        ({"RANK": "-1", "WORLD_SIZE": "²"}, (0, 1)),
    ],
)
def test_the_environment_tells(
    environment: dict[str, str], expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (rank(), world_size()) == expected


def test_torch_knows_better_once_it_is_initialised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert (rank(), world_size()) == (0, 1)
    finally:
        dist.destroy_process_group()
    assert (rank(), world_size()) == (3, 4)
