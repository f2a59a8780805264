"""Writes files that two ranks each save of tensors that they hold together, and what every rank held itself.

`python -P local_tensors.py DIRECTORY` makes `dtensor_<rank>.pt`, as ranks save a model of FSDP, `sharded_<rank>.pt`,
the same with torch's older class, and `expected.json` with the elements that torch gives back for each rank.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed._shard.sharded_tensor import Shard as LocalShard
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torch.distributed._shard.sharded_tensor.metadata import ShardedTensorMetadata, TensorProperties
from torch.distributed._shard.sharding_spec import ShardMetadata
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

ROWS = 3


def write(base: Path, rank: int) -> dict[str, list[list[float]]]:
    """The files of one rank; its own elements as they are read back."""
    dist.init_process_group("fake", rank=rank, world_size=2, store=FakeStore())
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("fsdp",))
    held = torch.arange(ROWS * 4.0).reshape(ROWS, 4) + 100 * rank
    whole = DTensor.from_local(held, mesh, [Shard(0)], run_check=False)
    assert whole.shape == (2 * ROWS, 4)
    torch.save({"layer.weight": whole}, base / f"dtensor_{rank}.pt")
    places = [ShardMetadata([ROWS * other, 0], [ROWS, 4], f"rank:{other}/cpu") for other in (0, 1)]
    described = ShardedTensorMetadata(places, torch.Size((2 * ROWS, 4)), TensorProperties(torch.float32))
    sharded = ShardedTensor._init_from_local_shards_and_global_metadata([LocalShard(held, places[rank])], described)
    torch.save({"layer.weight": sharded}, base / f"sharded_{rank}.pt")
    read = torch.load(base / f"dtensor_{rank}.pt", weights_only=False)["layer.weight"].to_local()
    older = torch.load(base / f"sharded_{rank}.pt", weights_only=False)["layer.weight"].local_tensor()
    dist.destroy_process_group()
    return {"dtensor": read.tolist(), "sharded": older.tolist()}


def main(base: Path) -> None:
    """Writes everything below `base`."""
    torch.set_num_threads(1)
    (base / "expected.json").write_text(json.dumps([write(base, rank) for rank in (0, 1)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
