"""Step, epoch and metrics in names, as each framework writes them, and what is none of these."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt.formats.meanings.names import from_name

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("lightning", "epoch=1-step=8-val_loss=0.714.ckpt", {"epoch": 1, "step": 8, "metrics": {"val_loss": 0.714}}),
    ("lightning", "epoch=1-step=8-v1.ckpt", {"epoch": 1, "step": 8}),
    ("lightning", "last-v1.ckpt", {}),
    ("transformers", "checkpoint-500", {"step": 500}),
    ("transformers", "checkpoint-2024", {"step": 2024}),
    ("deepspeed", "global_step500", {"step": 500}),
    ("megatron", "iter_0000100", {"step": 100}),
    ("composer", "ep1-ba20-rank0.pt", {"epoch": 1, "step": 20}),
    ("composer", "latest-rank0.pt", {}),
    ("timm", "checkpoint-7.pth.tar", {"epoch": 7}),
    ("timm", "recovery-3-120.pth.tar", {"epoch": 3}),
    ("timm", "model_best.pth.tar", {}),
    ("ultralytics", "epoch50.pt", {"epoch": 50}),
    ("fairseq", "checkpoint3.pt", {"epoch": 3}),
    ("fairseq", "checkpoint_3_1500.pt", {"epoch": 3, "step": 1500}),
    ("fairseq", "checkpoint_3_1500-shard0.pt", {"epoch": 3, "step": 1500}),
    ("fairseq", "checkpoint.best_loss_3.8712.pt", {}),
    ("mmengine", "epoch_3.pth", {"epoch": 3}),
    ("mmengine", "iter_100.pth", {"step": 100}),
    ("mmengine", "best_acc_epoch_3.pth", {"epoch": 3}),
    ("fvcore", "model_0000999.pth", {"step": 999}),
    ("fvcore", "model_final.pth", {}),
    ("sb3", "rl_model_1000_steps.zip", {"step": 1000}),
    ("sb3", "ppo_8_steps.zip", {"step": 8}),
    ("torch", "best_model_3_accuracy=0.5625.pt", {"epoch": 3, "metrics": {"accuracy": 0.5625}}),
    ("ignite", "best_model_3_neg_val_loss=-0.5.pt", {"epoch": 3, "metrics": {"neg_val_loss": -0.5}}),
    ("ignite", "checkpoint_8.pt", {}),
    ("keras", "w.01-1.79.keras", {"epoch": 1}),
    ("keras", "weights.12-0.25.weights.h5", {"epoch": 12}),
    ("keras", "model-2.0.keras", {}),
    (
        "nemo",
        "gpt--val_loss=1.23-step=100-consumed_samples=6400.0-last",
        {"step": 100, "metrics": {"val_loss": 1.23}},
    ),
    ("orbax", "100", {"step": 100}),
    ("orbax", "ckpt_00100", {"step": 100}),
    ("olmo-core", "step100", {"step": 100}),
    ("dcp", "step-500", {"step": 500}),
    ("verl", "global_step_5", {"step": 5}),
    ("lerobot", "000500", {"step": 500}),
    ("torchtune", "epoch_2", {"epoch": 2}),
    ("ray", "checkpoint_000003", {}),
    ("accelerate", "checkpoint_3", {}),
    ("accelerate", "checkpoint-500", {"step": 500}),
    ("mlmanager", "unet_best_epoch_012_20260102_030405.pth", {"epoch": 12}),
    ("mnist-helloworld", "epoch_10.pt", {"epoch": 10}),
    ("ckpt", "epoch_001_step_000100.ckpt", {"epoch": 1, "step": 100}),
    ("ckpt", "step-001200.pt", {"step": 1200}),
    ("stack-wise", "progressive_stack_3.pt", {}),
    ("torch", "checkpoint-500", {"step": 500}),
    ("torch", "ckpt_2000.pt", {"step": 2000}),
    ("torch", "model_100.pt", {"step": 100}),
    ("torch", "step_2024.pt", {"step": 2024}),
    ("torch", "ckpt_3000000000.pt", {"step": 3000000000}),
    ("lightning", "epoch=1-val/acc=0.83.ckpt", {"epoch": 1, "metrics": {"val/acc": 0.83}}),
    ("lightning", "stepstep=8-epochepoch=1-val_acc=0.5.ckpt", {"metrics": {"val_acc": 0.5}}),
    ("torch", "m-eval_every=100-loss_scale=8-val_acc=0.5.pt", {"metrics": {"val_acc": 0.5}}),
]

NOTHING = [
    "gpt2-124M.pt",
    "resnet50.pth",
    "llama-7b",
    "gemma-2b-it-4bit.safetensors",
    "sdxl_lightning_4step_unet.safetensors",
    "vit_base_patch16_224.bin",
    "model_v2.pt",
    "model-v2.1.pt",
    "model_2024.pt",
    "model_2.pt",
    "checkpoint_20260102.pt",
    "checkpoint-2024.pt",
    "model_202601020304.pt",
    "model-00001-of-00005.safetensors",
    "run_2026-01-02.ckpt",
    "m-lr=0.001-seed=3-bs=32.pt",
    "batch_32.pt",
    "2024",
    "step_100k.pt",
    "epoch_20240105_101010.pt",
    "step_2024_01_05.pt",
    "iter-2024-01-05.pt",
    "step=202401051010.pt",
    "ckpt_1704067200.pt",
    "epoch.pt",
    "",
    "=" * 300,
    "checkpoint-" + "9" * 400,
]


@pytest.mark.parametrize(("framework", "name", "expected"), CASES)
def test_what_a_name_tells(framework: str, name: str, expected: dict[str, Any]) -> None:
    found = from_name(name, framework)
    told = {"step": found.step, "epoch": found.epoch, "metrics": found.metrics}
    assert told == {"step": None, "epoch": None, "metrics": {}, **expected}


@pytest.mark.parametrize("framework", ["", "torch", "safetensors", "unknown"])
@pytest.mark.parametrize("name", NOTHING)
def test_years_sizes_and_versions_are_no_steps(framework: str, name: str) -> None:
    found = from_name(name, framework)
    assert (found.step, found.epoch, found.metrics) == (None, None, {})


def test_a_number_without_a_word_is_told_to_be_bare() -> None:
    assert from_name("checkpoint-40.pth", "torch").bare and from_name("ckpt_0005.pt").bare
    assert not from_name("checkpoint-40", "transformers").bare and not from_name("step_40.pt").bare


def test_a_name_full_of_almost_matches_takes_no_time() -> None:
    for piece in ("a_1_", "step_", "1_", "-a=", "epoch=1-"):
        assert from_name((piece * 2000)[:4096], "lightning").step is None
