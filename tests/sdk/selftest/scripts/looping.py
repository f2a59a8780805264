"""A plain loop with a manager and no hook, which makes a run, or goes on with the one that `--resume` names."""

from __future__ import annotations

import argparse

import torch
from torch import nn

from ckpt import CheckpointConfig, CheckpointManager, Run, TrainingState

parser = argparse.ArgumentParser()
parser.add_argument("--resume")
arguments = parser.parse_args()

torch.manual_seed(1)
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters())
run = Run.resume(arguments.resume) if arguments.resume else Run.create(base_dir="runs")
manager = CheckpointManager(run, CheckpointConfig(save_every_n_epochs=1))
done = 0
if arguments.resume:
    done = manager.restore_from_checkpoint(model, optimizer).next_step
for step in range(done + 1, 21):
    optimizer.zero_grad()
    loss = model(torch.randn(4, 4)).square().mean()
    loss.backward()
    optimizer.step()
    state = TrainingState(epoch=step // 10, global_step=step, learning_rate=1e-3, loss=float(loss))
    run.emit(state)
    if manager.should_save_checkpoint(state):
        manager.save_checkpoint(model, state, optimizers=optimizer)
run.close()
