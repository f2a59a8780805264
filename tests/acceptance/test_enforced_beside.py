"""What lies beside trainings and is none of theirs: under the harshest policy nothing of it goes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

HARSHEST = {"keep_last": 1, "monitor": "none", "missing_metric": "ignore", "min_age": 0, "max_share": 1}


def put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def model(directory: Path) -> None:
    """As `save_pretrained` writes one: weights for use."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    save_file({"model.embed_tokens.weight": torch.zeros(4, 4)}, directory / "model.safetensors")


def belongings(root: Path) -> None:
    """Data, models and notes of a person, some with names like those of checkpoints."""
    rows = {"inputs": torch.zeros(8, 4), "labels": torch.zeros(8)}
    put(root / "train.pt", rows)
    put(root / "val.pt", (torch.zeros(8, 4), torch.zeros(8)))
    put(root / "data" / "embeddings.pt", torch.zeros(8, 4))
    (root / "data" / "embeddings.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + b" " * 118)
    for number in range(3):
        put(root / "shards" / f"train_{number:05}.pt", rows)
        put(root / "shuffled" / f"epoch_{number}.pt", rows)
        put(root / "features" / f"features_step_{number}.pt", torch.zeros(8, 4))
        put(root / "latents" / f"latents_epoch_{number}.pt", {"z": torch.zeros(8, 4), "epoch": number})
        put(root / "exported" / f"model_epoch_{number}.pt", torch.nn.Linear(4, 1).state_dict())
        model(root / "models" / f"llama-{number}b")
        model(root / "merged" / f"checkpoint-{number}")
    model(root / "base")
    (root / "notes.md").write_text("lr 3e-4 diverges\n")
    (root / "loop" / "checkpoints").mkdir(parents=True)
    (root / "loop" / "notes.txt").write_text("the third attempt\n")
    put(root / "loop" / "final.pt", torch.nn.Linear(4, 1).state_dict())


def test_nothing_of_a_person_goes_while_a_training_beside_it_is_thinned(box: Any, tmp_path: Path) -> None:
    root = tmp_path / "experiments"
    belongings(root)
    theirs = box.content(root)
    box.enforce(root, HARSHEST)
    training = box.train("accelerate", root / "loop", 3)
    while training.saved() is not None:
        training.go_on()
    training.finish()
    box.becomes(root / "loop" / "checkpoints", {"checkpoint_2"})

    box.client.post("/v1/rescan", {})
    now = box.content(root)
    assert {path: now.get(path) for path in theirs} == theirs
    plan = box.client.get("/v1/plan", root=str(root))
    assert [item for run in plan["runs"] for item in run["remove"]] == []
    skipped = {
        os.path.relpath(item["path"], root): " ".join(reason["text"] for reason in item["reasons"])
        for run in plan["runs"]
        for item in run["skip"]
    }
    for name in (
        "train.pt",
        "shuffled/epoch_1.pt",
        "merged/checkpoint-1",
        "models/llama-1b",
        "exported/model_epoch_0.pt",
    ):
        assert "not a known training checkpoint" in skipped[name]
