"""Trains small agents with Stable-Baselines3; writes what the library reads back.

`python -P sb3.py DIRECTORY` makes `rl_model_*_steps.zip` (PPO), `sac.zip` (three optimizers) and `expected.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.envs import IdentityEnvBox
from stable_baselines3.common.save_util import load_from_zip_file


def main(base: Path) -> None:
    """Writes everything below `base`."""
    torch.set_num_threads(1)
    small: dict[str, Any] = {"policy_kwargs": {"net_arch": [4]}, "device": "cpu", "seed": 1}
    agent = PPO("MlpPolicy", IdentityEnvBox(), n_steps=8, batch_size=8, n_epochs=1, learning_rate=0.004, **small)
    agent.learn(32, callback=CheckpointCallback(16, str(base)))
    other = SAC("MlpPolicy", IdentityEnvBox(), buffer_size=50, learning_starts=2, batch_size=2, **small)
    other.learn(8)
    other.save(base / "sac.zip")
    found = {}
    for path in sorted(base.glob("*.zip")):
        data, params, _ = load_from_zip_file(path, device="cpu")
        assert data is not None
        found[path.name] = {
            "step": data["num_timesteps"],
            "gamma": data["gamma"],
            "learning_rate": params[next(name for name in params if "optimizer" in name)]["param_groups"][0]["lr"],
            "parts": sorted(params),
            "policy": {f"policy.{name}": list(tensor.shape) for name, tensor in params["policy"].items()},
        }
    (base / "expected.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
