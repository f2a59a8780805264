"""Ways to save a training's state, ours and those of others, behind one call.

`save()` blocks as long as that way blocks the training, and returns something with `done()` and `result()`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
from saving_workloads import Workload


class Saved(Protocol):
    """A save under way."""

    def done(self) -> bool:
        """Whether it is on disk, or failed."""

    def result(self, timeout: float | None = None) -> Any:
        """Waits for its end and raises what failed."""


class Way(ABC):
    """One way to save a workload below a directory of its own."""

    def __init__(self, workload: Workload, base: Path) -> None:
        self.workload = workload
        self.base = base
        base.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def save(self) -> Saved:
        """Begins a save."""

    def clean(self) -> None:
        """Deletes what was saved."""
        for path in self.base.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:  # noqa: B027
        """Ends what runs in the background, if anything does."""


def over() -> Saved:
    """A save that has ended."""
    done: Future[None] = Future()
    done.set_result(None)
    return done


def save_durably(content: Any, path: Path) -> None:
    """`torch.save` and fsync."""
    with open(path, "wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())


class Memcpy(Way):
    """Nothing but the copy of all bytes into memory that is there already: what no way that copies can beat."""

    def __init__(self, workload: Workload, base: Path) -> None:
        super().__init__(workload, base)
        self.memory = mmap.mmap(-1, workload.bytes)
        self.memory.madvise(mmap.MADV_HUGEPAGE)
        self.target = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        ctypes.memset(self.target, 1, workload.bytes)

    def save(self) -> Saved:
        at = self.target
        for tensor in self.workload.tensors.values():
            ctypes.memmove(at, tensor.data_ptr(), tensor.nbytes)
            at += tensor.nbytes
        return over()


class TorchSave(Way):
    """`torch.save` and fsync; the training waits."""

    def save(self) -> Saved:
        save_durably(self.workload.content(), self.base / "checkpoint.pt")
        return over()


class CloneAndThread(Way):
    """Clones every tensor, and a thread does `torch.save` and fsync."""

    def __init__(self, workload: Workload, base: Path) -> None:
        super().__init__(workload, base)
        self.pool = ThreadPoolExecutor(1)

    def save(self) -> Saved:
        from torch.utils._pytree import tree_map_only

        cloned = tree_map_only(torch.Tensor, torch.clone, self.workload.content())
        return self.pool.submit(save_durably, cloned, self.base / "checkpoint.pt")

    def close(self) -> None:
        self.pool.shutdown()


class Lightning(Way):
    """Lightning's AsyncCheckpointIO around its TorchCheckpointIO, which does not fsync."""

    def __init__(self, workload: Workload, base: Path) -> None:
        super().__init__(workload, base)
        from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

        self.plain = TorchCheckpointIO()
        self.plugin = AsyncCheckpointIO(self)  # type: ignore[arg-type]
        self.under_way: Future[None] = Future()

    def save_checkpoint(self, *given: Any, **options: Any) -> None:
        """What the plugin calls in its thread."""
        try:
            self.plain.save_checkpoint(*given, **options)
        finally:
            self.under_way.set_result(None)

    def save(self) -> Saved:
        self.under_way = Future()
        self.plugin.save_checkpoint(self.workload.content(), self.base / "checkpoint.pt")
        return self.under_way

    def close(self) -> None:
        self.plugin.teardown()


class Dcp(Way):
    """`torch.distributed.checkpoint.async_save` of one rank; `kind` is "thread" or "process"."""

    def __init__(self, workload: Workload, base: Path, kind: str) -> None:
        super().__init__(workload, base)
        import torch.distributed as dist
        from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

        if not dist.is_initialized():
            os.environ |= {"GLOO_SOCKET_IFNAME": "lo"}
            dist.init_process_group("gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
        self.kind = AsyncCheckpointerType(kind)
        self.number = 0

    def save(self) -> Saved:
        import torch.distributed.checkpoint as dcp

        self.number += 1
        saved: Any = dcp.async_save(
            self.workload.content(),
            checkpoint_id=self.base / str(self.number),
            async_checkpointer_type=self.kind,
        )
        return saved


class Ours(Way):
    """`CheckpointManager.save_checkpoint`; `background` as in CheckpointConfig."""

    def __init__(self, workload: Workload, base: Path, background: bool | str) -> None:
        super().__init__(workload, base)
        from ckpt import CheckpointConfig, CheckpointManager, Run

        self.run = Run.create("run", base)
        options: dict[str, Any] = {"background": background}
        self.manager = CheckpointManager(self.run, CheckpointConfig(**options))
        self.step = 0

    def save(self) -> Saved:
        from ckpt import TrainingState

        self.step += 1
        state = TrainingState(epoch=0, global_step=self.step, learning_rate=1e-3, loss=1.0)
        workload = self.workload
        saved: Any
        if workload.model is None:
            saved = self.manager.save_checkpoint(workload.tensors, state)
        else:
            saved = self.manager.save_checkpoint(workload.model, state, optimizers=workload.optimizer)
        return saved

    def clean(self) -> None:
        for path in self.run.paths.checkpoints.iterdir():
            path.unlink()

    def close(self) -> None:
        self.run.close()
        shutil.rmtree(self.base)


WAYS: dict[str, Callable[[Workload, Path], Way]] = {
    "memcpy": Memcpy,
    "ours": lambda workload, base: Ours(workload, base, True),
    "ours_thread": lambda workload, base: Ours(workload, base, "thread"),
    "ours_inline": lambda workload, base: Ours(workload, base, False),
    "torch_save": TorchSave,
    "clone_thread": CloneAndThread,
    "lightning": Lightning,
    "dcp_thread": lambda workload, base: Dcp(workload, base, "thread"),
    "dcp_process": lambda workload, base: Dcp(workload, base, "process"),
}
"""Name of a way to how it is made."""
