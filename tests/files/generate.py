#!/usr/bin/env python3
"""Writes `modules.safetensors` and `modules_io.safetensors` beside this script: the weights of a PyTorch module under
its attribute names, and what it gives.

The Rust tests read these files; no test runs this script. Run it by hand after changing the module, then check in the
files:

    python3 -m venv venv
    venv/bin/pip install torch safetensors numpy
    venv/bin/python tests/files/generate.py

The stored files were made with torch 2.15.0.
"""

import pathlib

import torch
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent


class Digits(nn.Module):
    """`wide` and `deep` have the same shapes, so only a map or an order tells them apart."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.wide = nn.Conv2d(4, 4, 3, padding=1)
        self.deep = nn.Conv2d(4, 4, 3, padding=1)
        self.hidden = nn.Linear(4 * 3 * 2, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = nn.functional.max_pool2d(torch.relu(self.deep(torch.tanh(self.wide(x)))), 2)
        return self.head(torch.relu(self.hidden(x.flatten(1))))


torch.manual_seed(3)
module = Digits()
with torch.no_grad():
    for _ in range(3):
        module(torch.randn(16, 1, 6, 4) * 2 + 1)
module.eval()
x = torch.randn(3, 1, 6, 4)
save_file(module.state_dict(), HERE / "modules.safetensors")
# One channel: channels first and last are the same order.
save_file({"x": x.flatten(1), "y": module(x).detach()}, HERE / "modules_io.safetensors")
print(list(module.state_dict()))
