"""PyTorch on the CPU, as one of the processes that `compare` talks to: see src/worker.rs for what is asked and answered."""

import json
import sys
import time
from pathlib import Path

import torch
from torch import nn

WIDTHS = [784, 512, 256, 128, 10]

threads, job, batch, folder = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
torch.set_num_threads(threads)


def read(name, dtype):
    return torch.frombuffer(bytearray((folder / name).read_bytes()), dtype=dtype)


def network():
    layers, weights, at = [], read("weights.f32", torch.float32), 0
    for inputs, outputs in zip(WIDTHS, WIDTHS[1:]):
        linear = nn.Linear(inputs, outputs)
        with torch.no_grad():
            linear.weight.copy_(weights[at : at + inputs * outputs].view(inputs, outputs).T)
            at += inputs * outputs
            linear.bias.copy_(weights[at : at + outputs])
            at += outputs
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


model = network()
cross_entropy = nn.CrossEntropyLoss()


class Training:
    def __init__(self):
        # The fused form is PyTorch's fastest Adam on a CPU.
        self.adam = torch.optim.Adam(model.parameters(), lr=0.001, betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.images = read("train-images.u8", torch.uint8).view(-1, WIDTHS[0])
        self.labels = read("train-labels.u8", torch.uint8)
        self.next = 0

    def step(self):
        rows = slice(self.next, self.next + batch)
        self.next = 0 if rows.stop + batch > len(self.labels) else rows.stop
        loss = cross_entropy(model(self.images[rows].float() / 255), self.labels[rows].long())
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()


training = Training() if job == "train" else None
features = read("test-images.u8", torch.uint8)[: batch * WIDTHS[0]].view(batch, -1).float() / 255 if not training else None


def run(count):
    if training:
        for _ in range(count):
            training.step()
    else:
        with torch.inference_mode():
            for _ in range(count):
                model(features).numpy()


def loss():
    labels = read("test-labels.u8", torch.uint8)[:batch].long()
    rows = read("test-images.u8", torch.uint8)[: batch * WIDTHS[0]].view(batch, -1).float() / 255
    with torch.inference_mode():
        return cross_entropy(model(rows), labels).item()


def answer(**values):
    print(json.dumps(values), flush=True)


run(1)
answer(device=f"CPU, {threads} thread" + "s" * (threads > 1), version=torch.__version__)
for line in sys.stdin:
    word, *count = line.split()
    if word == "run":
        start = time.perf_counter()
        run(int(count[0]))
        answer(seconds=time.perf_counter() - start)
    elif word == "loss":
        answer(loss=loss())
