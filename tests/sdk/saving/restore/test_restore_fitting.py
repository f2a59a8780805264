"""What a training cannot go on with is told before anything changes; what it can, comes back."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from ckpt.exceptions import CheckpointError, FormatError, UsageError
from ckpt.saving.by_hand import load_checkpoint, save_checkpoint
from ckpt.saving.restore.loading import read_file
from ckpt.state import values

torch.set_num_threads(1)

OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
}


def made(kind: Any, *, steps: int = 0) -> dict[str, Any]:
    model = torch.nn.Linear(3, 2, bias=False)
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer: Any = kind(model.parameters(), lr=0.01, **options)
    for _ in range(steps):

        def loss() -> float:
            return 0.0

        grad = torch.ones(2, 3)
        model.weight.grad = grad.to_sparse() if kind is torch.optim.SparseAdam else grad
        optimizer.step(loss)
    return {"model": model, "optimizer": optimizer}


def everything(trainer: dict[str, Any]) -> Any:
    return copy.deepcopy(
        {name: dict(item.state_dict()) for name, item in trainer.items() if hasattr(item, "state_dict")}
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_comes_back_into_a_fresh_one_and_into_no_other(name: str, tmp_path: Path) -> None:
    """Regression: a state of Adam went into SGD, and the next step failed or trained otherwise."""
    first = made(OPTIMIZERS[name], steps=2)
    path = save_checkpoint(tmp_path / "a.pt", first)
    fresh = made(OPTIMIZERS[name])
    assert load_checkpoint(path, fresh).fully_restored
    assert values.same(everything(fresh), everything(first))
    for other, kind in OPTIMIZERS.items():
        if other == name:
            continue
        wrong = made(kind)
        before = everything(wrong)
        with pytest.raises(CheckpointError, match=f"is not that of a {other}"):
            load_checkpoint(path, wrong)
        assert values.same(everything(wrong), before)
        report = load_checkpoint(path, wrong, strict=False)
        assert report.optimizers == 0 and not report.fully_restored


def test_an_optimizer_of_an_older_torch_comes_back(tmp_path: Path) -> None:
    """Its groups lack what torch fills in when it takes them."""
    first = made(torch.optim.AdamW, steps=1)
    state = first["optimizer"].state_dict()
    for added in ("foreach", "fused", "capturable", "differentiable", "maximize", "decoupled_weight_decay"):
        del state["param_groups"][0][added]
    torch.save({"model_state_dict": first["model"].state_dict(), "optimizer_state_dict": state}, tmp_path / "old.pt")
    fresh = made(torch.optim.AdamW)
    assert load_checkpoint(tmp_path / "old.pt", fresh).optimizers == 1
    fresh["model"].weight.grad = torch.ones(2, 3)
    fresh["optimizer"].step()


def test_a_scheduler_of_another_kind_is_refused(tmp_path: Path) -> None:
    def trainer(kind: Any, **options: Any) -> dict[str, Any]:
        told = made(torch.optim.SGD)
        return {**told, "scheduler": kind(told["optimizer"], **options)}

    path = save_checkpoint(tmp_path / "a.pt", trainer(lr_scheduler.StepLR, step_size=2))
    assert load_checkpoint(path, trainer(lr_scheduler.StepLR, step_size=3)).schedulers == 1
    for kind, options in (
        (lr_scheduler.ExponentialLR, {"gamma": 0.9}),
        (lr_scheduler.OneCycleLR, {"max_lr": 0.1, "total_steps": 9}),
        (lr_scheduler.ReduceLROnPlateau, {}),
    ):
        with pytest.raises(CheckpointError, match=f"is not that of a {kind.__name__}"):
            load_checkpoint(path, trainer(kind, **options))


def test_moments_follow_the_names_of_parameters(tmp_path: Path) -> None:
    """Regression: in another order of the same shapes, each parameter got the moments of another."""

    def trainer(names: tuple[str, str]) -> dict[str, Any]:
        model = torch.nn.Module()
        for name in ("a", "b"):
            model.register_parameter(name, torch.nn.Parameter(torch.zeros(2)))
        return {"model": model, "optimizer": torch.optim.Adam([(n, getattr(model, n)) for n in names])}

    first = trainer(("a", "b"))
    first["model"].a.grad, first["model"].b.grad = torch.ones(2), torch.full((2,), 5.0)
    first["optimizer"].step()
    path = save_checkpoint(tmp_path / "a.pt", first)
    turned = trainer(("b", "a"))
    assert load_checkpoint(path, turned).fully_restored
    for name in ("a", "b"):
        held = [t["optimizer"].state[getattr(t["model"], name)]["exp_avg"] for t in (first, turned)]
        assert torch.equal(*held)
    assert turned["optimizer"].param_groups[0]["param_names"] == ["b", "a"]
    content = torch.load(path, weights_only=True)
    state = content["optimizer_state_dicts"][0]
    state["state"] = {str(number): held for number, held in state["state"].items()}
    torch.save(content, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="parameters that none of its groups has: '0', '1'"):
        load_checkpoint(tmp_path / "b.pt", trainer(("a", "b")))


@pytest.mark.parametrize(
    ("spoiled", "told"),
    [
        (lambda: torch.nn.Parameter(torch.rand(1).expand(2)), "the same place in memory"),
        (lambda: torch.nn.Parameter(torch.empty(2, device="meta")), "on the meta device"),
        (lambda: torch.nn.Parameter(torch.eye(2)[0].to_sparse()), "sparse"),
        ("inference", "an inference tensor"),
    ],
)
def test_a_tensor_that_cannot_be_written_is_told_before_any_is(spoiled: Any, told: str, tmp_path: Path) -> None:
    """Regression: the tensors before it were changed, and the error said that nothing was."""
    path = save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(3, 2)})
    model = torch.nn.Linear(3, 2)
    if spoiled == "inference":
        with torch.inference_mode():
            model.bias = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    else:
        model.bias = spoiled()
    before = model.weight.detach().clone()
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(path, {"model": model})
    assert torch.equal(model.weight, before)
    report = load_checkpoint(path, {"model": model}, strict=False)
    assert (report.loaded, report.fully_restored) == (("weight",), False)


class Interrupted:
    """Takes its state, and then Ctrl-C comes, once."""

    def __init__(self) -> None:
        self.value = {"n": 1}
        self.comes = True

    def state_dict(self) -> dict[str, int]:
        return self.value

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.value = state
        if self.comes:
            self.comes = False
            raise KeyboardInterrupt


class InterruptedModel(torch.nn.Linear):
    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        super().load_state_dict(*args, **options)
        raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["object", "model"])
def test_ctrl_c_leaves_all_as_it_was(where: str, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.pt", {**made(torch.optim.Adam, steps=1), "x": Interrupted()})
    trainer = {**made(torch.optim.Adam), "x": Interrupted()}
    if where == "model":
        trainer["x"].comes = False
        trainer["model"] = InterruptedModel(3, 2, bias=False)
        trainer["optimizer"] = torch.optim.Adam(trainer["model"].parameters())
    trainer["x"].value = {"n": 7}
    before = everything(trainer)
    with pytest.raises(KeyboardInterrupt):
        load_checkpoint(path, trainer)
    assert values.same(everything(trainer), before)


def test_a_registered_object_that_refuses_is_left_out_when_not_strict(tmp_path: Path) -> None:
    def average(width: int) -> torch.nn.Module:
        return torch.optim.swa_utils.AveragedModel(torch.nn.Linear(width, 2))

    model = torch.nn.Linear(3, 2)
    path = save_checkpoint(tmp_path / "a.pt", {"model": model, "ema": average(3)})
    other = {"model": torch.nn.Linear(3, 2), "ema": average(4)}
    before = everything(other)["ema"]
    with pytest.raises(CheckpointError, match="'ema' refused its state"):
        load_checkpoint(path, other)
    report = load_checkpoint(path, other, strict=False)
    assert (report.registered, len(report.loaded)) == ((), 2)
    assert any("'ema' refused its state" in note for note in report.notes)
    assert values.same(everything(other)["ema"], before)
    assert torch.equal(other["model"].weight, model.weight)  # type: ignore[arg-type]


def test_lists_and_numbers_are_the_same_names(tmp_path: Path) -> None:
    def optimizers(*rates: float) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate) for rate in rates]

    weights = {"w": torch.ones(1)}
    path = save_checkpoint(tmp_path / "a.pt", {"model": weights, "optimizers": optimizers(0.1, 0.2)})
    first, second = optimizers(1.0, 1.0)
    assert load_checkpoint(path, {"model": weights, "optimizers": {"1": second, "0": first}}).optimizers == 2
    assert [o.param_groups[0]["lr"] for o in (first, second)] == [0.1, 0.2]
    with pytest.raises(CheckpointError, match="which is which is not known"):
        load_checkpoint(path, {"model": weights, "optimizers": {"d": second, "g": first}})


def test_what_takes_its_shape_from_the_checkpoint_comes_back(tmp_path: Path) -> None:
    """Lazy parameters, and observers of quantisation."""
    first = torch.nn.Sequential(torch.nn.LazyLinear(3), torch.ao.quantization.PerChannelMinMaxObserver())
    first(torch.rand(4, 5))
    path = save_checkpoint(tmp_path / "a.pt", {"model": first})
    fresh = torch.nn.Sequential(torch.nn.LazyLinear(3), torch.ao.quantization.PerChannelMinMaxObserver())
    assert load_checkpoint(path, {"model": fresh}).fully_restored
    assert values.same(dict(fresh.state_dict()), dict(first.state_dict()))


def test_arrays_take_weights(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.pt", {"model": {"w": np.arange(6.0).reshape(2, 3)}})
    held = np.zeros((3, 2)).T
    report = load_checkpoint(path, {"model": {"w": held}})
    assert report.fully_restored and np.array_equal(held, np.arange(6.0).reshape(2, 3))
    held.flags.writeable = False
    with pytest.raises(CheckpointError, match="read-only"):
        load_checkpoint(path, {"model": {"w": held}})


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_that_a_wrapper_gave_are_matched(wrapper: str, tmp_path: Path) -> None:
    first = torch.nn.Linear(3, 2)
    torch.save({"model": {wrapper + name: value for name, value in first.state_dict().items()}}, tmp_path / "a.pt")
    fresh = torch.nn.Linear(3, 2)
    assert load_checkpoint(tmp_path / "a.pt", {"model": fresh}).fully_restored
    assert torch.equal(fresh.weight, first.weight)


class Turned(torch.nn.Module):
    """Keeps its weight the other way round since version 2."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.rand(3, 3))

    def _load_from_state_dict(self, state: Any, prefix: str, versions: Any, *args: Any) -> None:
        if versions.get("version", 1) < 2:
            state[prefix + "w"] = state[prefix + "w"].t()
        super()._load_from_state_dict(state, prefix, versions, *args)


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"a": m}, lambda m: [m]])
def test_versions_of_modules_reach_them(wrap: Any, tmp_path: Path) -> None:
    first, fresh = (torch.nn.Sequential(Turned(), Turned()) for _ in range(2))
    path = save_checkpoint(tmp_path / "a.pt", {"model": wrap(first)})
    assert load_checkpoint(path, {"model": wrap(fresh)}).fully_restored
    assert values.same(dict(fresh.state_dict()), dict(first.state_dict()))


def test_only_weights_and_optimizers_are_placed(tmp_path: Path) -> None:
    """Regression: random states and arrays were moved too, where nothing can read them."""
    generator = np.random.RandomState(3)
    expected = copy.deepcopy(generator).rand()
    path = save_checkpoint(tmp_path / "a.pt", {**made(torch.optim.Adam, steps=1), "draws": generator})
    with pytest.raises(CheckpointError, match="loaded without data, on the meta device"):
        load_checkpoint(path, made(torch.optim.Adam), map_location="meta")
    content = read_file(path, "meta")
    assert content.weights["weight"].is_meta and content.optimizers is not None
    assert content.optimizers[0]["state"][0]["exp_avg"].is_meta
    assert not content.random["torch_cpu"].is_meta
    trainer = {**made(torch.optim.Adam), "draws": np.random.RandomState(4)}
    assert load_checkpoint(path, trainer, map_location=lambda storage, _: storage).fully_restored
    assert trainer["draws"].rand() == expected


@pytest.mark.parametrize("place", ["nonsense", "cuda:99", 3, {"cpu": "nowhere"}])
def test_a_place_that_is_none_is_no_damage(place: Any, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.pt", made(torch.optim.Adam))
    with pytest.raises(UsageError, match="map_location"):
        load_checkpoint(path, made(torch.optim.Adam), map_location=place)


def test_files_of_other_trainers_are_read(tmp_path: Path) -> None:
    first = made(torch.optim.Adam, steps=1)
    weights, optimizer = first["model"].state_dict(), first["optimizer"].state_dict()
    files: list[dict[str, Any]] = [
        {"state_dict": weights, "optimizer_states": [optimizer], "lr_schedulers": [], "global_step": 30},
        {"model": weights, "optimizer": optimizer, "iter_num": 30, "model_args": {}},
    ]
    for content in files:
        torch.save(content, tmp_path / "a.pt")
        trainer = {**made(torch.optim.Adam), "global_step": 0}
        assert load_checkpoint(tmp_path / "a.pt", trainer).optimizers == 1
        assert trainer["global_step"] == 30


@pytest.mark.parametrize("content", [{1: torch.ones(2)}, {"model": {1: torch.ones(2)}}])
def test_names_that_are_no_text_are_no_weights(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(FormatError):
        load_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(1, 1)})


def test_no_error_advises_to_load_unsafely(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    torch.save(model, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    pickle_of_protocol_4 = b"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s."
    (tmp_path / "b.pt").write_bytes(pickle_of_protocol_4)
    for name in ("a.pt", "b.pt"):
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(tmp_path / name, {"model": model})
        assert "weights_only" not in str(caught.value) and "add_safe_globals" not in str(caught.value)
