"""Gradients in the midst of an accumulation: which count, and that a training goes on with them to the bit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import ckpt
from ckpt.config import CheckpointConfig
from ckpt.hook import TrainingHook
from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.saving.capture.gradients import GRADIENTS, capture_gradients, trained
from ckpt.saving.restore.loading import read_file
from ckpt.state import TrainingState, values

torch.set_num_threads(1)

WINDOW = 4
MICRO_BATCHES = 11
DATA = torch.randn(MICRO_BATCHES, 5, 4, generator=torch.Generator().manual_seed(3))


class Training:
    """Accumulates over four micro batches; one parameter gets no gradient, and decays where zeros stand for it."""

    def __init__(self, zeroing: str = "end") -> None:
        torch.manual_seed(9)
        self.zeroing = zeroing
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
        self.model.register_parameter("unused", torch.nn.Parameter(torch.ones(3)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)

    def micro(self, i: int) -> float:
        if self.zeroing == "top" and i % WINDOW == 0:
            self.optimizer.zero_grad()
        loss = self.model(DATA[i]).pow(2).mean() / WINDOW
        if i < WINDOW:
            loss = loss + self.model.unused.sum()
        loss.backward()
        if (i + 1) % WINDOW == 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
            self.optimizer.step()
            if self.zeroing != "top":
                self.optimizer.zero_grad(set_to_none=self.zeroing == "end")
        return float(loss.detach())

    def everything(self) -> Any:
        return copy.deepcopy([self.model.state_dict(), self.optimizer.state_dict(), torch.get_rng_state()])


def uninterrupted(zeroing: str) -> Any:
    training = Training(zeroing)
    for i in range(MICRO_BATCHES):
        training.micro(i)
    return training.everything()


def state(step: int) -> TrainingState:
    return TrainingState(epoch=0, global_step=step, learning_rate=0.1, loss=0.5)


def stepped(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()


def linear() -> tuple[torch.nn.Linear, torch.optim.SGD]:
    model = torch.nn.Linear(3, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def counting(model: Any, optimizer: Any, **options: Any) -> set[str] | None:
    found = capture_gradients(model, {}, optimizer, **options).tensors
    return None if found is None else set(found)


@pytest.mark.parametrize("zeroing", ["top", "end", "zeros"])
def test_a_resume_at_every_micro_batch_comes_to_the_same_bits(tmp_path: Path, zeroing: str) -> None:
    expected = uninterrupted(zeroing)
    for stop in range(1, MICRO_BATCHES):
        with TrainingHook((first := Training(zeroing)).model, tmp_path / str(stop), optimizer=first.optimizer) as hook:
            for i in range(stop):
                hook.step(first.micro(i))
            hook.save()
        second = Training(zeroing)
        torch.manual_seed(0)
        with TrainingHook(second.model, tmp_path / str(stop), optimizer=second.optimizer) as hook:
            report = hook.resume()
            assert report is not None
            is_within = stop % WINDOW != 0
            assert (report.gradients > 0) == (is_within or zeroing == "zeros")
            for i in range(hook.global_step, MICRO_BATCHES):
                second.micro(i)
        assert values.same(second.everything(), expected), f"saved behind micro batch {stop}"


def test_a_manager_alone_and_an_exception_save_them_too(tmp_path: Path) -> None:
    expected = uninterrupted("end")
    for stop in (1, 4, 6, 7):
        first, second = Training(), Training()
        manager = CheckpointManager(tmp_path / f"m{stop}")
        manager.watch_optimizers(first.optimizer)
        for i in range(stop):
            first.micro(i)
        manager.save_checkpoint(first.model, state(stop), optimizers=first.optimizer)
        manager.run.close()
        CheckpointManager(tmp_path / f"m{stop}").restore_from_checkpoint(second.model, second.optimizer)
        for i in range(stop, MICRO_BATCHES):
            second.micro(i)
        assert values.same(second.everything(), expected)

        first, second = Training(), Training()
        config = CheckpointConfig(save_on_exception=True)
        with (
            pytest.raises(KeyboardInterrupt),
            TrainingHook(first.model, tmp_path / f"e{stop}", config, first.optimizer) as hook,
        ):
            for i in range(stop):
                hook.step(first.micro(i))
            raise KeyboardInterrupt
        with TrainingHook(second.model, tmp_path / f"e{stop}", config, second.optimizer) as hook:
            hook.resume()
            for i in range(hook.global_step, MICRO_BATCHES):
                second.micro(i)
        assert values.same(second.everything(), expected)


def test_what_a_step_has_used_does_not_count() -> None:
    model, optimizer = linear()
    assert counting(model, optimizer) == set()
    stepped(model, optimizer)
    assert counting(model, optimizer) == set()
    model(torch.ones(1, 3)).sum().backward()
    assert counting(model, optimizer) == {"weight", "bias"}
    optimizer.zero_grad()
    assert counting(model, optimizer) == set()


def test_a_new_gradient_at_the_place_of_an_old_one_counts() -> None:
    """Numbers of objects and counts of changes are used again; what is alive is not."""
    model, optimizer = linear()
    counting(model, optimizer)
    for _ in range(50):
        stepped(model, optimizer)
        optimizer.zero_grad()
        model(torch.ones(2, 3)).sum().backward()
        assert counting(model, optimizer) == {"weight", "bias"}


def test_zeros_take_no_room_and_come_back_as_zeros(tmp_path: Path) -> None:
    model = torch.nn.Linear(300, 300)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sizes = {}
    for zeros in (False, True):
        model(torch.ones(1, 300)).sum().backward()
        if zeros:
            optimizer.zero_grad(set_to_none=False)
        path = ckpt.save_checkpoint(tmp_path / f"{zeros}.pt", {"model": model, "optimizer": optimizer}, gradients=True)
        sizes[zeros] = path.stat().st_size
    assert sizes[True] < sizes[False] - 300_000
    other = torch.nn.Linear(300, 300)
    ckpt.load_checkpoint(tmp_path / "True.pt", {"model": other})
    assert other.weight.grad is not None
    assert other.weight.grad.stride() == (300, 1)
    assert not other.weight.grad.any()
    assert values.same(other.weight.grad.add_(1)[0, :2], torch.ones(2))


def test_minus_zero_is_no_zero() -> None:
    model, optimizer = linear()
    counting(model, optimizer)
    model.weight.grad = torch.full((1, 3), -0.0)
    found = capture_gradients(model, {}, optimizer).tensors
    assert found is not None
    assert torch.signbit(found["weight"]).all()


def test_two_optimizers_that_step_at_different_times() -> None:
    models = {"generator": torch.nn.Linear(3, 3), "critic": torch.nn.Linear(3, 1)}
    optimizers = [torch.optim.Adam(model.parameters()) for model in models.values()]
    counting(models, optimizers)
    models["critic"](torch.ones(1, 3)).sum().backward()
    optimizers[1].step()
    assert counting(models, optimizers) == set()
    models["critic"](models["generator"](torch.ones(1, 3))).sum().backward()
    optimizers[0].step()
    # The critic's have the generator's loss in them, and nothing says that they will be thrown away.
    assert counting(models, optimizers) == {"critic.weight", "critic.bias"}
    optimizers[1].zero_grad()
    assert counting(models, optimizers) == set()


def test_a_closure_that_is_called_many_times() -> None:
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    counting(model, optimizer)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(2, 3)).pow(2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert model.weight.grad is not None
    assert counting(model, optimizer) == set()


def test_a_scaler_that_unscales_and_skips() -> None:
    model, optimizer = linear()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    counting(model, optimizer)
    scaler.scale(model(torch.ones(1, 3)).sum()).backward()
    scaler.unscale_(optimizer)
    assert counting(model, optimizer) == {"weight", "bias"}
    scaler.step(optimizer)
    scaler.update()
    assert counting(model, optimizer) == set()
    optimizer.zero_grad()
    (scaler.scale(model(torch.ones(1, 3)).sum()) * float("inf")).backward()
    scaler.step(optimizer)
    scaler.update()
    # No step used them.
    assert counting(model, optimizer) == {"weight", "bias"}


def test_what_was_there_before_anybody_looked_is_not_known(tmp_path: Path) -> None:
    model, optimizer = linear()
    stepped(model, optimizer)
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        for step, gradients in enumerate((None, True, False)):
            manager.save_checkpoint(model, state(step), optimizers=optimizer, gradients=gradients).result()
        # Never thrown away, so there are zeros to be.
        stepped(model, optimizer)
        manager.save_checkpoint(model, state(3), optimizers=optimizer)
        told = []
        for step in range(4):
            loaded = manager.load_checkpoint(f"step:{step}")
            content = read_file(Path(loaded["path"]))
            assert content.report is not None
            held = loaded["gradients"]
            told.append((None if held is None else len(held), content.report.left_out.get(GRADIENTS, "")[:15]))
        assert told == [(None, "gradients exist"), (2, ""), (None, "gradients=False"), (2, "")]


def test_an_optimizer_of_another_kind_is_told_of() -> None:
    class Own:
        def __init__(self, parameters: Any) -> None:
            self.param_groups = [{"params": list(parameters), "lr": 0.1}]

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: Any) -> None: ...

    model = torch.nn.Linear(3, 1)
    assert capture_gradients(model, {}, Own(model.parameters())).tensors == {}
    model(torch.ones(1, 3)).sum().backward()
    found = capture_gradients(model, {}, Own(model.parameters()))
    assert found.tensors is None
    assert "gradients=True" in found.left_out[GRADIENTS]
    assert counting(model, Own(model.parameters()), wanted=True) == {"weight", "bias"}


def test_one_optimizer_within_another_is_watched() -> None:
    model, inner = linear()

    class Wrapper(torch.optim.Optimizer):
        def __init__(self) -> None:
            self.optimizer = inner

        @property
        def param_groups(self) -> Any:  # type: ignore[override]
            return inner.param_groups

        def step(self) -> None:  # type: ignore[override]
            inner.step()

    wrapper = Wrapper()
    counting(model, wrapper)
    stepped(model, wrapper)
    assert counting(model, wrapper) == set()


def test_tied_parameters_stand_once_and_all_models_are_looked_at() -> None:
    tied = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    tied[1].weight = tied[0].weight
    assert list(trained(tied, {})) == ["0.weight"]
    both = {"a": tied, "b": torch.nn.Linear(3, 1, bias=False), "c": torch.nn.Sequential(tied[0])}
    registered = {"loss": torch.nn.Linear(1, 1, bias=False)}
    assert list(trained(both, registered)) == ["a.0.weight", "b.weight", "loss.weight"]
    tensors = {"w": torch.ones(2, requires_grad=True), "b": torch.ones(2)}
    assert list(trained(tensors, {})) == ["w"]
    wrapped = torch.nn.Sequential(torch.nn.DataParallel(torch.nn.Linear(1, 1)))
    assert list(trained(wrapped, {})) == ["0.weight", "0.bias"]


def test_gradients_of_parameters_that_no_model_has_are_told_of() -> None:
    model = torch.nn.Linear(3, 1)
    scale = torch.nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([*model.parameters(), scale], lr=0.1)
    counting(model, optimizer)
    (model(torch.ones(1, 3)) * scale).sum().backward()
    found = capture_gradients(model, {}, optimizer)
    assert found.tensors is not None
    assert found.left_out == {GRADIENTS: "1 gradients of parameters that are in no model of the save"}


def test_sparse_gradients_and_other_dtypes_come_back_as_they_were(tmp_path: Path) -> None:
    def made() -> torch.nn.ModuleDict:
        return torch.nn.ModuleDict(
            {"sparse": torch.nn.Embedding(6, 2, sparse=True), "narrow": torch.nn.Linear(2, 2).to(torch.bfloat16)}
        )

    model = made()
    rows = torch.tensor([1, 1, 4])
    for _ in range(2):
        model["narrow"](model["sparse"](rows).to(torch.bfloat16)).sum().backward()
    ckpt.save_checkpoint(tmp_path / "a.pt", {"model": model}, gradients=True)
    other = made()
    report = ckpt.load_checkpoint(tmp_path / "a.pt", {"model": other})
    assert report.gradients == 3
    assert "3 gradients" in str(report)
    for own, back in zip(model.parameters(), other.parameters(), strict=True):
        assert own.grad is not None
        assert back.grad is not None
        assert (own.grad.layout, own.grad.dtype) == (back.grad.layout, back.grad.dtype)
        assert values.same(own.grad.to_dense(), back.grad.to_dense())
