"""What a model keeps comes back under the same names, whatever it is wrapped in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ckpt
from ckpt.exceptions import StateError
from ckpt.saving.capture.weights import plain_names, weights_of
from ckpt.saving.restore.loading import read_file
from ckpt.state import values

torch.set_num_threads(1)


class Counting(torch.nn.Module):
    """A module whose hooks keep a number and an array in its state dict."""

    def __init__(self, seen: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((2,), float(seen)))
        self.seen, self.table = seen, {"at": np.arange(seen)}
        hooks: Any = self
        hooks.register_state_dict_post_hook(_tell)
        hooks.register_load_state_dict_pre_hook(_take)


def _tell(module: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    state[f"{prefix}seen"], state[f"{prefix}table"] = module.seen, module.table


def _take(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    module.seen, module.table = state.pop(f"{prefix}seen"), state.pop(f"{prefix}table")


def test_plain_data_in_the_state_of_a_module_comes_back(tmp_path: Path) -> None:
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Sequential(Counting(3))})
    again = torch.nn.Sequential(Counting(5))
    ckpt.load_checkpoint(path, {"model": again})
    found: Any = again[0]
    assert found.seen == 3
    assert values.same(found.table, {"at": np.arange(3)})
    assert torch.load(path, weights_only=True)["model_state_dict"]["0.seen"] == 3


def test_a_state_dict_given_as_weights_may_hold_plain_data_and_other_mappings_may_not() -> None:
    state = torch.nn.Sequential(Counting(3)).state_dict()
    assert weights_of(state)["0.seen"] == 3
    with pytest.raises(StateError, match=r"weights\.epoch is a int"):
        weights_of({"w": torch.ones(1), "epoch": 3})


@pytest.mark.filterwarnings("ignore:torch.quantize_per", "ignore:TypedStorage is deprecated")
def test_a_quantised_model_comes_back(tmp_path: Path) -> None:
    from torch.ao.nn.quantized import dynamic

    if torch.backends.quantized.engine == "none":
        pytest.skip("this torch has no quantized engine")

    def made() -> Any:
        quantised: Any = dynamic
        return torch.nn.Sequential(quantised.Linear(3, 2))

    model, again = made(), made()
    model[0].set_weight_bias(torch.quantize_per_tensor(torch.randn(2, 3), 0.1, 0, torch.qint8), torch.randn(2))
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": model})
    ckpt.load_checkpoint(path, {"model": again})
    x = torch.randn(4, 3)
    assert torch.equal(model(x), again(x))


def compiled(module: torch.nn.Module) -> Any:
    return torch.compile(module, backend="eager")


class Versioned(torch.nn.Module):
    """A module that reads its older versions in another way."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.read: Any = None

    def _load_from_state_dict(self, state: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        self.read = local_metadata.get("version")
        super()._load_from_state_dict(state, prefix, local_metadata, *rest)


@pytest.mark.parametrize(
    "kind",
    [
        lambda: {"a": Versioned(), "b": torch.nn.Sequential(Versioned())},
        lambda: [Versioned(), torch.nn.Sequential(Versioned())],
        lambda: {
            "a": compiled(Versioned()),
            "b": torch.nn.Sequential(compiled(Versioned())),
        },
    ],
)
def test_versions_of_named_and_listed_models_come_back(kind: Any, tmp_path: Path) -> None:
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": kind()})
    again = kind()
    ckpt.load_checkpoint(path, {"model": again})
    models = again.values() if isinstance(again, dict) else again
    found = [part for model in models for part in model.modules() if isinstance(part, Versioned)]
    assert [part.read for part in found] == [2, 2]


@pytest.mark.parametrize(
    "models",
    [
        {"a": torch.nn.Sequential(torch.nn.Linear(1, 1)), "a.0": torch.nn.Linear(1, 1)},
        {1: torch.nn.Linear(1, 1), "1": torch.nn.Linear(1, 1)},
    ],
)
def test_models_whose_names_meet_are_refused(models: Any) -> None:
    with pytest.raises(StateError, match="two models have"):
        weights_of(models)


@pytest.mark.parametrize("saved", ["bare", "compiled", "parallel", "both"])
@pytest.mark.parametrize("restored", ["bare", "both"])
def test_wrapped_parts_and_copies_of_wrapped_models_have_plain_names(saved: str, restored: str, tmp_path: Path) -> None:
    def made(kind: str) -> Any:
        part: Any = torch.nn.BatchNorm1d(2)
        if kind in ("parallel", "both"):
            part = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.DataParallel(part)))
        else:
            part = torch.nn.Sequential(part)
        if kind in ("compiled", "both"):
            part = compiled(part)
        model = torch.nn.Sequential(part)
        return model, torch.optim.swa_utils.AveragedModel(compiled(model) if kind != "bare" else model)

    model, average = made(saved)
    for i, value in enumerate([*model.buffers(), *average.buffers()]):
        value.fill_(i + 2)
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": model, "ema": average})
    content = read_file(path)
    assert next(iter(content.weights)) == "0.0.weight"
    assert "module.0.0.weight" in (content.captured or {})["ema"]
    again, copy = made(restored)
    report = ckpt.load_checkpoint(path, {"model": again, "ema": copy})
    assert report.registered == ("ema",)
    for mine, theirs in ((model, again), (average, copy)):
        for name, value in plain_names(mine).items():
            assert torch.equal(mine.state_dict()[value], theirs.state_dict()[plain_names(theirs)[name]]), name


def test_a_global_generator_of_another_kind_is_refused_with_its_place(tmp_path: Path) -> None:
    numpy: Any = np.random
    before = numpy.get_bit_generator()
    numpy.set_bit_generator(np.random.PCG64())
    try:
        with pytest.raises(StateError, match=r"rng\.numpy: .* PCG64") as caught:
            ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(1, 1)})
        ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(1, 1)}, random=False)
    finally:
        numpy.set_bit_generator(before)
    assert caught.value.hint


def test_a_lazy_module_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"model_state_dict\.0\.weight has no shape yet"):
        ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Sequential(torch.nn.LazyLinear(2))})
