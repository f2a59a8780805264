"""A training with one flaw of choice, for self-tests to find: `python trained.py [FLAW] [--runs DIR]`."""

from __future__ import annotations

import argparse
import random

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ckpt import CheckpointConfig, ResumableLoader, Run, TrainingHook

parser = argparse.ArgumentParser()
parser.add_argument("flaw", nargs="?", default="")
parser.add_argument("--run", default="runs/trained")
parser.add_argument("--epochs", type=int, default=3)
arguments = parser.parse_args()
flaw = arguments.flaw

if flaw != "unseeded":
    torch.manual_seed(1)
else:
    torch.seed()
torch.set_num_threads(1)
data = TensorDataset(torch.arange(64.0).reshape(32, 2) / 64, torch.arange(32.0) / 32)
model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
loader: DataLoader | ResumableLoader
if flaw == "plain-loader":
    loader = DataLoader(data, batch_size=4, shuffle=True)
else:
    loader = ResumableLoader(data, batch_size=4, shuffle=True, num_workers=2 if flaw == "workers" else 0)
own = random.Random(5)
hook = TrainingHook(
    model,
    Run.create() if flaw == "new-run" else arguments.run,
    CheckpointConfig(save_every_n_epochs=1),
    optimizer,
    None if flaw == "scheduler" else scheduler,
    loaders=None if flaw == "plain-loader" else loader,
)
if flaw == "registered":
    hook.register("own", own)
hook.resume()
for epoch in range(hook.epoch, arguments.epochs):
    for x, y in loader:
        noise = own.random() if flaw in ("own-generator", "registered") else 0.0
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x).squeeze(1), y + noise)
        loss.backward()
        optimizer.step()
        scheduler.step()
        hook.step(loss)
    hook.epoch_end(epoch)
