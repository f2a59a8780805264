"""Which checkpoints of a foreign run are one series: what every framework writes, and what lies side by side."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt.records import Checkpoint
from ckpt.retention.series import series_of


def series(path: str, framework: str = "torch", **fields: Any) -> str:
    checkpoint = Checkpoint(id="1", run="r", path=f"/runs/exp/{path}", framework=framework, **fields)
    return "/".join(series_of(checkpoint)[1:])


FRAMEWORKS = {
    "transformers": ["checkpoint-500", "checkpoint-1000"],
    "lightning": ["epoch=1-step=8.ckpt", "epoch=10-step=80.ckpt"],
    "lightning by a metric": ["epoch=1-val_loss=0.71.ckpt", "epoch=12-val_loss=-1.5e-3.ckpt"],
    "lightning padded": ["mnist-epoch=02-val_loss=0.32.ckpt", "mnist-epoch=11-val_loss=1.05.ckpt"],
    "lightning cut at a slash": ["epoch=1-val/acc=0.5.ckpt", "epoch=2-val/acc=0.75.ckpt"],
    "nemo": [
        "gpt--val_loss=5.01-step=20-consumed_samples=2000.0.ckpt",
        "gpt--val_loss=4.9-step=40-consumed_samples=4000.0.ckpt",
    ],
    "accelerate": ["checkpoints/checkpoint_3", "checkpoints/checkpoint_12"],
    "megatron": ["iter_0000100", "iter_0000200"],
    "deepspeed": ["global_step100", "global_step2000"],
    "composer": ["ep1-ba200", "ep2-ba400"],
    "composer by rank": ["ep1-ba200-rank0.pt", "ep12-ba2400-rank0.pt"],
    "fairseq": ["checkpoint_1_500.pt", "checkpoint_2_1000.pt"],
    "fairseq by epoch": ["checkpoint1.pt", "checkpoint12.pt"],
    "fairseq best": ["checkpoint.best_loss_3.45.pt", "checkpoint.best_loss_12.5.pt"],
    "mmengine": ["epoch_3.pth", "epoch_12.pth"],
    "mmengine by iteration": ["iter_100.pth", "iter_20000.pth"],
    "mmengine best": ["best_coco_bbox_mAP_epoch_3.pth", "best_coco_bbox_mAP_epoch_12.pth"],
    "sb3": ["rl_model_100_steps.zip", "rl_model_2000_steps.zip"],
    "torch by steps": ["ckpt_100_steps.zip", "ckpt_200_steps.zip"],
    "orbax": ["100", "2000"],
    "orbax with a prefix": ["step_100", "step_2000"],
    "lerobot": ["checkpoints/000100", "checkpoints/020000"],
    "dcp": ["step-100", "step-2000"],
    "timm": ["checkpoint-3.pth.tar", "checkpoint-12.pth.tar"],
    "timm recovery": ["recovery-3-100.pth.tar", "recovery-12-2000.pth.tar"],
    "fvcore": ["model_0000999.pth", "model_0001999.pth"],
    "ignite": ["checkpoint_8.pt", "checkpoint_16.pt"],
    "keras": ["model.05-0.32.keras", "model.12-1.05.keras"],
    "keras weights": ["weights.05-0.32.weights.h5", "weights.12-1.05.weights.h5"],
    "ultralytics": ["weights/epoch3.pt", "weights/epoch12.pt"],
    "nanogpt": ["ckpt_500.pt", "ckpt_1000.pt"],
    "verl": ["global_step_10", "global_step_200"],
    "olmo": ["step1000", "step2000"],
    "torchtune": ["epoch_0", "epoch_12"],
    "ray": ["checkpoint_000000", "checkpoint_000012"],
    "torch in a directory of a step": ["step-1/model.pt", "step-12/model.pt"],
    "torch, several counts": ["epoch_1_step_20.pt", "epoch_2_step_40.pt"],
    "torch, in an epoch": ["epoch_1_batch_20.pt", "epoch_2_batch_40.pt"],
    "torch, without a separator": ["e1-it20.pt", "e2-it40.pt"],
    "torch with a metric": ["model-epoch3-acc0.91.pt", "model-epoch4-acc0.95.pt"],
    "torch with a named metric": ["epoch_3_val_loss_0.5.pt", "epoch_4_val_loss_0.125.pt"],
    "torch, part of an epoch": ["epoch_0.5.pt", "epoch_1.5.pt"],
    "torch, updates": ["update_100.pt", "update_200.pt"],
}


@pytest.mark.parametrize("layout", FRAMEWORKS)
def test_what_a_framework_writes_one_after_another_is_a_series(layout: str) -> None:
    framework = layout.partition(" ")[0].rstrip(",")
    assert len({series(name, framework) for name in FRAMEWORKS[layout]}) == 1


SIDE_BY_SIDE = [
    ["fold_0_epoch_1.pt", "fold_1_epoch_1.pt", "fold_12_epoch_1.pt"],
    ["resnet18_epoch3.pt", "resnet50_epoch3.pt"],
    ["epoch_2_expert_1.pt", "epoch_2_expert_2.pt"],
    ["step_2_en.pt", "step_2_de.pt"],
    ["seed0-step=100.ckpt", "seed1-step=100.ckpt"],
    ["stage1_epoch_1.pt", "stage2_epoch_1.pt"],
    ["seed-42", "seed-43", "seed-44"],
    ["42", "43", "44"],
    ["fold1", "fold2"],
    ["lr1e-4", "lr1e-5", "lr3e-5"],
    ["2024-01-01", "2024-02-01"],
    ["checkpoint-2024-01-01", "checkpoint-2024-02-01"],
    ["ckpt_20240101.pt", "ckpt_20240102.pt"],
    ["llama-7b", "llama-13b"],
    ["checkpoint-7b", "checkpoint-13b"],
    ["epoch=9-step=900-v1.ckpt", "epoch=9-step=900-v2.ckpt", "epoch=9-step=900.ckpt"],
    ["v1.0-final", "v1.1-final"],
    ["run-0abc-final.ckpt", "run-1abc-final.ckpt"],
    ["2024-01-exp_final.pt", "2024-02-exp_final.pt"],
    ["max_steps_100_step_5.pt", "max_steps_200_step_5.pt"],
    ["epochs=10.pt", "num_epochs=10.pt", "num_epochs=20.pt"],
    ["batch32_epoch_1.pt", "batch64_epoch_1.pt"],
    ["epoch_1_lr=0.1.pt", "epoch_1_lr=0.2.pt"],
    ["epoch_1_loss_weight=0.1.pt", "epoch_1_loss_weight=0.2.pt"],
    ["epoch_1-alpha=0.1.pt", "epoch_1-alpha=0.2.pt"],
    ["G_epoch_1.pth", "D_epoch_1.pth"],
    ["ckpt_1.pt", "ckpt_1_ema.pt", "ckpt_1-v1.pt"],
    ["plain/1/model.pt", "plain/2/model.pt"],
    ["trial_1/step_5.pt", "trial_2/step_5.pt"],
]


@pytest.mark.parametrize("names", SIDE_BY_SIDE, ids=lambda names: names[0])
@pytest.mark.parametrize("framework", ["torch", "lightning", "transformers"])
def test_trainings_side_by_side_are_series_of_their_own(names: list[str], framework: str) -> None:
    found = {series(name, framework, step=500, epoch=50.0) for name in names}
    assert len(found) == len(names)


def test_a_number_without_a_word_counts_where_the_checkpoint_records_it() -> None:
    assert {series(f"{n}.pt", step=n) for n in (100, 2000)} == {"/runs/exp/#.pt"}
    assert {series(f"model_{n}.pt", step=n * 500, epoch=float(n)) for n in (1, 2, 30)} == {"/runs/exp/model_#.pt"}
    assert {series(f"model_{n}.pt", epoch=n - 1.0) for n in (1, 2, 30)} == {"/runs/exp/model_#+1.pt"}
    assert {series(f"model_{n}_accuracy=0.{n}.pt", "ignite", epoch=n) for n in (3, 12)} == {
        "/runs/exp/model_#_accuracy=#.pt"
    }
    assert {series(f"seed7_{n}.pt", epoch=n) for n in (1, 2)} == {"/runs/exp/seed7_#.pt"}


def test_seeds_near_the_last_epoch_are_no_counts_of_it() -> None:
    """Three trainings of three epochs, whose seeds happen to be 1, 2 and 3."""
    assert len({series(f"seed{n}_final.pt", epoch=2) for n in (1, 2, 3)}) == 3
    assert len({series(f"{n}_seed{m}.pt", epoch=n - 1) for n in (1, 2, 3) for m in (2, 3)}) >= 4
    assert series("fold_1_model_1.pt", epoch=1) != series("fold_2_model_2.pt", epoch=2), "which of them counts?"
    assert series("fold_1_epoch_1.pt", epoch=1) != series("fold_2_epoch_2.pt", epoch=2)


def test_names_of_other_directories_and_frameworks_are_of_other_series() -> None:
    assert series("a/step-1.pt") != series("b/step-1.pt")
    ours, theirs = (Checkpoint(id="1", run="r", path="/r/step-1", framework=name) for name in ("dcp", "orbax"))
    assert series_of(ours) != series_of(theirs)


@pytest.mark.parametrize(
    ("one", "other", "fields"),
    [
        ("val_fold=0-epoch=1.ckpt", "val_fold=1-epoch=1.ckpt", {"framework": "lightning", "step": 7, "epoch": 1}),
        ("kl=0.1-epoch=1.ckpt", "kl=0.5-epoch=1.ckpt", {"framework": "lightning", "step": 7, "epoch": 1}),
        ("acc=4-epoch=1.ckpt", "acc=8-epoch=1.ckpt", {"framework": "lightning", "step": 7, "epoch": 1}),
        ("e0_epoch_1.pt", "e7_epoch_1.pt", {"step": 700, "epoch": 1}),
        ("iter1_epoch5.pt", "iter2_epoch5.pt", {"step": 700, "epoch": 5}),
        ("update1-step100.pt", "update9-step100.pt", {"step": 100, "epoch": 5}),
        ("step1/checkpoint-100.pt", "step2/checkpoint-100.pt", {"step": 100, "epoch": 5}),
        ("iter_1/best_model.pt", "iter_2/best_model.pt", {"step": 700, "epoch": 7}),
        ("step1", "step2", {"framework": "transformers", "step": 500, "epoch": 3}),
        ("seed_1", "seed_2", {"framework": "orbax", "step": 1}),
    ],
)
def test_a_number_that_is_not_what_is_recorded_tells_trainings_apart(
    one: str, other: str, fields: dict[str, Any]
) -> None:
    assert series(one, **fields) != series(other, **fields)


@pytest.mark.parametrize("number", [10**400, -(10**400), float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["epoch_3.pt", "model-3.pt", "epoch=1-step=8.ckpt"])
def test_a_number_that_no_training_reaches_breaks_nothing(name: str, number: Any) -> None:
    assert series(name, epoch=number) and series(name, step=number, epoch=3)
