"""Bytes by what they are, against the sizes of the storages that the library itself loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ckpt.formats import inspect

Produced = Callable[[str], Path]


def stored(*values: Any) -> int:
    """Bytes of all storages below some values, each once."""
    found: dict[int, int] = {}
    for tensor in tensors(values):
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)


def test_lightning_tells_weights_and_optimizers_apart(produced: Produced) -> None:
    paths = sorted((produced("lightning") / "run").glob("*.ckpt"))
    assert len(paths) > 3
    for path in paths:
        content = torch.load(path, weights_only=False)
        wanted = {"weights": stored(content["state_dict"]), "optimizer": stored(content["optimizer_states"])}
        assert inspect(path).kinds == wanted


def test_transformers_directories_count_all_their_files(produced: Produced) -> None:
    for name in ("best/checkpoint-6", "plain/checkpoint-2"):
        directory = produced("transformers") / name
        weights = stored(load_file(directory / "model.safetensors"))
        optimizer = stored(torch.load(directory / "optimizer.pt", weights_only=False))
        found = inspect(directory)
        assert found.kinds == {"weights": weights, "optimizer": optimizer}
        assert sum(found.kinds.values()) < found.bytes
    # The adapter is what was trained; the frozen model is not there.
    adapter = produced("transformers") / "adapter" / "checkpoint-2"
    assert inspect(adapter).kinds["weights"] == stored(load_file(adapter / "adapter_model.safetensors"))
    assert inspect(produced("transformers") / "sharded").kinds.keys() == {"weights"}


def test_accelerate_directories_count_each_model_and_optimizer(produced: Produced) -> None:
    directory = produced("accelerate") / "two" / "kept"
    models = [load_file(path) for path in sorted(directory.glob("model*.safetensors"))]
    optimizers = [torch.load(path, weights_only=False) for path in sorted(directory.glob("optimizer*.bin"))]
    assert len(models) == len(optimizers) == 2
    assert inspect(directory).kinds == {"weights": stored(*models), "optimizer": stored(*optimizers)}


def test_dcp_counts_what_all_ranks_hold_once(produced: Produced) -> None:
    alone, spread = (inspect(produced("dcp") / name / "step-7").kinds for name in ("one", "two"))
    assert alone == spread and alone["weights"] == 66 * 4
    assert alone["optimizer"] == 2 * 66 * 4 + 4 * 4  # two moments of each, and a count for each of four


def test_storages_that_are_shared_count_once(tmp_path: Path) -> None:
    base = torch.zeros(1000)
    weights = {"a": base[:500], "b": base[500:], "tied": base, "ema_unlike": torch.ones(10)}
    state = {"state": {0: {"exp_avg": torch.zeros(1000), "same": base}}, "param_groups": []}
    torch.save({"model": weights, "optimizer": state, "epoch": 1}, tmp_path / "x.pt")
    assert inspect(tmp_path / "x.pt").kinds == {"weights": 4040, "optimizer": 4000}


def test_averages_are_weights_and_the_rest_is_neither(tmp_path: Path) -> None:
    saved = {
        "model": {"w": torch.zeros(100)},
        "ema": {"w": torch.zeros(100)},
        "rng_state": torch.zeros(64, dtype=torch.uint8),
        "optimizer": {"state": {}, "param_groups": []},
    }
    torch.save(saved, tmp_path / "x.pt")
    assert inspect(tmp_path / "x.pt").kinds == {"weights": 800}


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: [state, state]])
def test_an_optimizer_alone_is_no_model(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    layer = torch.nn.Linear(10, 10)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 10)).sum().backward()
    optimizer.step()
    torch.save(wrap(optimizer.state_dict()), tmp_path / "optimizer.pt")
    assert inspect(tmp_path / "optimizer.pt").kinds == {"optimizer": 2 * 110 * 4 + 2 * 4}


def test_bare_weights_are_weights(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(50)}, tmp_path / "w.safetensors")
    assert inspect(tmp_path / "w.safetensors").kinds == {"weights": 200}
    torch.save(torch.nn.Linear(4, 4).state_dict(), tmp_path / "w.pt")
    assert inspect(tmp_path / "w.pt").kinds == {"weights": 80}


def test_what_is_compressed_counts_as_it_lies_on_the_disk(produced: Produced) -> None:
    for path in sorted((produced("orbax") / "managed").iterdir()):
        if not path.name.isdigit():
            continue
        found = inspect(path)
        assert 0 < sum(found.kinds.values()) <= found.bytes
        assert found.kinds.keys() == {"weights", "optimizer"}


def test_what_is_not_listed_is_not_known(produced: Produced, tmp_path: Path) -> None:
    assert {str(inspect(path).kinds) for path in produced("keras").glob("w.*")} == {"{}"}
    (tmp_path / "x.pt").write_bytes(b"")
    assert inspect(tmp_path / "x.pt").kinds == {}
