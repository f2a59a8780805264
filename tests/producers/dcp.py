"""Writes torch distributed checkpoints with torch itself, by one process and by two, and what torch reads back.

`python dcp.py DIRECTORY` makes these below it:

* `one/step-7`: a training state by one process: model, optimizer, scheduler, counters;
* `again/step-7`: the same state, saved once more; `other/step-7`: with one element of one tensor changed;
* `two/step-7`: the same state by two processes, the model fully sharded;
* `async/step-7`: the same state through `async_save`;
* `shapes`: tensors of every kind by one process;
* `grid`: tensors that two processes hold in uneven shards along their first and their second dimension;
* `threads`: by one process in several files; `ranks`: by two processes that each write a description of their own;
* `titan/step-20`: names and nesting as torchtitan's trainer saves them;
* `app`: a state in one wrapping object;
* `files`: sixty tensors, each in a file of its own;
* `killed/step-1`, `killed/step-2`: by processes that die at their first and second `fsync`.

`expected.json` has, for each, names, shapes, dtypes and SHA-256 of all tensors in row-major order, and all other
values, as torch's own loader gives them.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

# Other scripts here bear the names of libraries: this directory must not be where those are looked for.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.nn import Linear, Module, ReLU, Sequential


class AppState:
    """A state in one object, as the tutorials of torch wrap it."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        """What is saved of it."""
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what was saved."""
        self.state = state


def network() -> Module:
    """The same small model each time; its first sizes are odd, so shards of it are uneven."""
    torch.manual_seed(0)
    return Sequential(Linear(5, 7), ReLU(), Linear(7, 3))


def trained(model: Module) -> dict[str, Any]:
    """The state of a training after one step on a fixed batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, foreach=False)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    model(torch.linspace(-1, 1, 20).view(4, 5)).square().sum().backward()
    optimizer.step()
    scheduler.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "global_step": 7,
        "epoch": 2,
        "loss": 0.75,
        "metrics": {"val_loss": 0.5, "accuracy": 0.875},
        "config": {"lr": 0.02, "layers": [5, 7, 3], "name": "small"},
        "torch_rng_state": torch.get_rng_state(),
    }


def shapes() -> dict[str, Any]:
    """Tensors of every kind that a chunk can be."""
    base = torch.arange(12.0)
    return {
        "bfloat16": torch.linspace(-3, 3, 15).to(torch.bfloat16).view(3, 5),
        "scalar": torch.tensor(1.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
        "bool": torch.tensor([True, False, True]),
        "int64": torch.arange(24).view(2, 3, 4),
        "complex64": torch.complex(base, -base),
        "float8": torch.linspace(-2, 2, 8).to(torch.float8_e4m3fn),
        "transposed": base.view(3, 4).t(),
        "channels_last": torch.arange(120.0).view(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "shared": [base, base[4:8], base.view(3, 4)],
        "none": None,
        "dotted.key": {"inner": torch.ones(2)},
        7: {"number": torch.ones(1)},
    }


def sharded(rank: int, directory: Path) -> None:
    """What each of the two processes saves."""
    mesh = init_device_mesh("cpu", (2,))
    model = network()
    fully_shard(model, mesh=mesh)
    dcp.save(trained(model), checkpoint_id=directory / "two" / "step-7")

    def cut(tensor: torch.Tensor, dimension: int) -> DTensor:
        return distribute_tensor(tensor, mesh, [Shard(dimension)], src_data_rank=None)

    whole = torch.arange(105).view(7, 15)
    grid = {
        "rows": cut(whole, 0),
        "columns": cut(whole, 1),
        "middle": cut(torch.arange(210, dtype=torch.int16).view(6, 5, 7), 1),
        "last": cut(torch.arange(210, dtype=torch.int32).view(6, 7, 5), 2),
        "pairs": cut(torch.arange(40.0).view(20, 2), 1),
        "halves": cut(torch.linspace(0, 1, 33).to(torch.bfloat16).view(11, 3), 1),
        "one_row": cut(torch.ones(1, 4), 0),
        "everywhere": torch.arange(10.0),
        "epoch": 4,
    }
    dcp.save(grid, checkpoint_id=directory / "grid")
    own = {"weights": cut(whole, 0), "step": 3}
    dcp.save(own, storage_writer=FileSystemWriter(directory / "ranks"), use_collectives=False)


def _process(rank: int, port: int, directory: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    sharded(rank, directory)
    dist.destroy_process_group()


def alone(directory: Path) -> None:
    """What one process saves."""
    dcp.save(shapes(), checkpoint_id=directory / "shapes")
    state = trained(network())
    dcp.save(state, checkpoint_id=directory / "one" / "step-7")
    dcp.save(state, checkpoint_id=directory / "again" / "step-7")
    dcp.async_save(state, checkpoint_id=directory / "async" / "step-7", process_group=None).result()
    dcp.save(state, storage_writer=FileSystemWriter(directory / "threads", thread_count=3))
    many = {f"part.{number}": torch.full((8,), float(number)) for number in range(60)}
    dcp.save(many, storage_writer=FileSystemWriter(directory / "files", single_file_per_rank=False))
    state["model"]["2.weight"][1, 3] += 1
    dcp.save(state, checkpoint_id=directory / "other" / "step-7")
    dcp.save({"app": AppState(trained(network()))}, checkpoint_id=directory / "app")
    parts = trained(network())
    weights = {f"layers.{name}": tensor for name, tensor in parts["model"].items()}
    moments = {
        f"state.layers.{index}.{name}": value
        for index, state in parts["optimizer"]["state"].items()
        for name, value in state.items()
    }
    titan = {
        **weights,
        "optimizer": {**moments, "param_groups.layers.0.weight.lr": 0.01, "param_groups.layers.0.weight.eps": 1e-8},
        "lr_scheduler": {"last_epoch": 20, "_step_count": 21},
        "dataloader": {"dp_rank_0": b"where the data stands", "world_size": 1},
        "train_state": {
            "step": torch.tensor(20),
            "ntokens_seen": torch.tensor(81920),
        },
    }
    dcp.save(titan, checkpoint_id=directory / "titan" / "step-20")


def killed(path: Path, call: int) -> None:
    """A save by a process that dies in its `fsync` number `call`: of the data, or of the description after them."""
    child = os.fork()
    if not child:
        calls = 0

        def fsync(descriptor: int) -> None:
            nonlocal calls
            calls += 1
            if calls == call:
                os._exit(9)

        os.fsync = fsync  # type: ignore[assignment]
        dcp.save(trained(network()), checkpoint_id=path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def read_back(path: Path) -> dict[str, Any]:
    """Tensors and values of a checkpoint by their flattened names, as torch's loader gives them."""
    state: dict[str, Any] = {}
    planner = _EmptyStateDictLoadPlanner()
    _load_state_dict(state, storage_reader=dcp.FileSystemReader(path), planner=planner, no_dist=True)
    found: dict[str, Any] = {"tensors": {}, "values": {}}
    _flatten("", state, found)
    return found


def _flatten(prefix: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, torch.Tensor):
        raw = value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""
        found["tensors"][prefix] = [
            list(value.shape),
            str(value.dtype).removeprefix("torch."),
            hashlib.sha256(raw).hexdigest(),
        ]
    elif isinstance(value, dict):
        for key, item in value.items():
            _flatten(f"{prefix}.{key}" if prefix else str(key), item, found)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _flatten(f"{prefix}.{index}", item, found)
    elif isinstance(value, bytes):
        found["values"][prefix] = value.decode("latin-1")
    else:
        found["values"][prefix] = value


def main(directory: Path) -> None:
    """Makes them all."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = mp.start_processes(_process, (port, directory), nprocs=2, join=False, start_method="fork")
    killed(directory / "killed" / "step-1", 1)
    killed(directory / "killed" / "step-2", 2)
    alone(directory)
    while not processes.join():
        pass
    names = [path.parent for path in directory.rglob(".metadata")]
    expected = {str(path.relative_to(directory)): read_back(path) for path in sorted(names)}
    (directory / "expected.json").write_text(json.dumps(expected, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
