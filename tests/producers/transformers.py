"""Trains a tiny Llama with the Trainer of transformers and writes what the libraries read back from its checkpoints.

Usage: python -P transformers.py DIRECTORY
"""

from __future__ import annotations

import enum
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.utils.data import Dataset
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import ExportableState


def pickled(member: Any, value: Any) -> Any:
    """What a pickle of this Python tells of an argument: the first releases of 3.11 name an enumeration's member."""
    by_name = isinstance(member, enum.Enum) and member.__reduce_ex__(2)[0] is getattr
    return member.name if by_name else value


class Numbers(Dataset[dict[str, torch.Tensor]]):
    """A few rows of random tokens."""

    def __init__(self, rows: int, seed: int) -> None:
        self.rows = torch.randint(0, 64, (rows, 8), generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


class Counting(TrainerCallback, ExportableState):  # type: ignore[misc]
    """A callback whose state is saved."""

    def __init__(self, seen: int = 0) -> None:
        self.seen = seen

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Counts."""
        self.seen += 1

    def state(self) -> dict[str, Any]:
        """What is saved of it."""
        return {"args": {"seen": self.seen}, "attributes": {}}


def model(layers: int = 1) -> LlamaForCausalLM:
    """A Llama of a few kilobytes."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=16,
            tie_word_embeddings=False,
        )
    )


def described(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Shapes and dtypes by name."""
    return {name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in tensors.items()}


def weights(directory: Path) -> dict[str, torch.Tensor]:
    """The weights as the library's own files give them."""
    index = directory / "model.safetensors.index.json"
    if index.exists():
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        return {name: tensor for shard in shards for name, tensor in load_file(directory / shard).items()}
    if (directory / "model.safetensors").exists():
        return dict(load_file(directory / "model.safetensors"))
    return dict(load_file(directory / "adapter_model.safetensors"))


def read_back(directory: Path) -> dict[str, Any]:
    """What the library finds in a checkpoint of its own."""
    state = TrainerState.load_from_json(str(directory / "trainer_state.json"))
    args = torch.load(directory / "training_args.bin", weights_only=False)
    optimizer = torch.load(directory / "optimizer.pt", weights_only=False)
    scheduler = torch.load(directory / "scheduler.pt", weights_only=False)
    moments = {f"{index}.{name}": value for index, kept in optimizer["state"].items() for name, value in kept.items()}
    rng = torch.load(directory / "rng_state.pth", weights_only=False)
    return {
        "epoch": state.epoch,
        "global_step": state.global_step,
        "best_metric": state.best_metric,
        "best_global_step": state.best_global_step,
        "best_model_checkpoint": state.best_model_checkpoint,
        "log_history": state.log_history,
        "stateful_callbacks": sorted(state.stateful_callbacks),
        "monitor": args.metric_for_best_model,
        "greater_is_better": args.greater_is_better,
        "args": {
            key: pickled(getattr(args, key, None), value)
            for key, value in args.to_dict().items()
            if type(value) in (int, float, str, bool) and not key.endswith("_token")
        },
        "weights": described(weights(directory)),
        "parameters": sum(tensor.numel() for tensor in weights(directory).values()),
        "moments": described(moments),
        "optimizer_lr": optimizer["param_groups"][0]["lr"],
        "last_epoch": scheduler["last_epoch"],
        "rng": sorted(rng),
    }


def arguments(directory: Path, **changes: Any) -> TrainingArguments:
    """Arguments of a short training on the CPU."""
    settings: dict[str, Any] = {
        "output_dir": str(directory),
        "max_steps": 6,
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 4,
        "logging_steps": 1,
        "save_steps": 2,
        "eval_steps": 2,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "learning_rate": 0.01,
        "seed": 3,
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
    }
    return TrainingArguments(**(settings | changes))


def train(directory: Path, network: Any, **changes: Any) -> Trainer:
    """One short training."""
    trainer = Trainer(
        model=network,
        args=arguments(directory, **changes),
        train_dataset=Numbers(16, 1),
        eval_dataset=Numbers(4, 2),
        callbacks=[Counting()],
    )
    trainer.train()
    return trainer


def main(base: Path) -> None:
    """Four trainings: one that keeps its best, one with sharded weights, one of an adapter, one that saves no more than
    its weights."""
    torch.set_num_threads(1)
    set_seed(3)
    trainer = train(base / "best", model(), load_best_model_at_end=True, save_total_limit=2, num_train_epochs=1)
    trainer.save_model()
    trainer.save_state()
    plain = train(base / "plain", model(), eval_strategy="no", max_steps=2)
    plain.model.save_pretrained(base / "sharded", max_shard_size="6KB")
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    tuned = train(base / "adapter", adapted, max_steps=2, metric_for_best_model="eval_runtime", greater_is_better=False)
    tuned.model.save_pretrained(base / "standalone")
    found = {str(path.relative_to(base)): read_back(path) for path in sorted(base.glob("*/checkpoint-*"))}
    train(base / "lean", model(), save_only_model=True)
    expected = {
        "checkpoints": found,
        "sharded": described(weights(base / "sharded")),
        "standalone": described(weights(base / "standalone")),
    }
    (base / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
