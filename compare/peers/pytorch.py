"""PyTorch on the CPU, as a worker process of `compare`. src/worker.rs describes the protocol."""

import json
import sys
import time
from pathlib import Path

import torch
from torch import nn

threads, job, batch, folder = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
torch.set_num_threads(threads)

network = json.loads((folder / "network.json").read_text())
shape, labels = network["input"], network["labels"]


def read(name, dtype):
    return torch.frombuffer(bytearray((folder / name).read_bytes()), dtype=dtype)


def samples(name):
    """Samples as rows, or as images with channels first."""
    bytes = read(name, torch.uint8).view(-1, *shape)
    return bytes.permute(0, 3, 1, 2).contiguous() if len(shape) == 3 else bytes


def targets(name):
    return read(name, torch.uint8).long() if labels else samples(name)


def numbers(bytes):
    return bytes.float() / 255


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class Residual(nn.Module):
    def __init__(self, inner, shortcut):
        super().__init__()
        self.inner, self.shortcut = inner, shortcut

    def forward(self, x):
        return self.inner(x) + self.shortcut(x)


class Skip(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.cat((x, self.inner(x)), 1)


def weights():
    at, all = 0, read("weights.f32", torch.float32)
    for _, shape in network["tensors"]:
        size = torch.Size(shape).numel()
        yield all[at : at + size].view(shape)
        at += size


def filled(layer, weight, bias):
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def modules(steps, weights):
    """The network from the steps in network.json; src/benchmarks.rs describes them."""
    for step in steps:
        kind = step["step"]
        weight = next(weights) if kind in ("dense", "conv", "transposed", "batch_norm") else None
        bias = next(weights) if weight is not None and step.get("bias", True) else None
        if kind == "dense":
            if step["image"]:
                yield nn.Flatten()
                weight = weight.view(*step["image"], -1).permute(2, 0, 1, 3).flatten(0, 2)
            yield filled(nn.Linear(*weight.shape), weight.T, bias)
        elif kind == "conv":
            height, width, *channels = weight.shape
            layer = nn.Conv2d(*channels, (height, width), step["stride"], step["padding"], bias=step["bias"])
            yield filled(layer, weight.permute(3, 2, 0, 1), bias)
        elif kind == "transposed":
            yield filled(nn.ConvTranspose2d(*weight.shape[2:], 2, 2), weight.permute(2, 3, 0, 1), bias)
        elif kind == "batch_norm":
            yield filled(nn.BatchNorm2d(len(weight)), weight, bias)
        elif kind == "residual":
            inner = sequence(step["inner"], weights)
            yield Residual(inner, sequence(step["shortcut"], weights))
        elif kind == "skip":
            yield Skip(sequence(step["inner"], weights))
        else:
            yield {"relu": nn.ReLU(), "max_pool": nn.MaxPool2d(2), "mean": Mean()}[kind]
        if step.get("relu"):
            yield nn.ReLU()


def sequence(steps, weights):
    return nn.Sequential(*modules(steps, weights))


model = sequence(network["steps"], weights()).train(job == "train")
loss_of = nn.CrossEntropyLoss() if labels else nn.MSELoss()


class Training:
    def __init__(self):
        # The fused version is PyTorch's fastest Adam on a CPU.
        self.adam = torch.optim.Adam(model.parameters(), lr=0.001, betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.inputs, self.targets = samples("train-inputs.u8"), targets("train-targets.u8")
        self.next = 0

    def step(self):
        rows = slice(self.next, self.next + batch)
        self.next = 0 if rows.stop + batch > len(self.inputs) else rows.stop
        expected = self.targets[rows] if labels else numbers(self.targets[rows])
        loss = loss_of(model(numbers(self.inputs[rows])), expected)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()


training = Training() if job == "train" else None
features = numbers(samples("test-inputs.u8")[:batch])


def run(count):
    if training:
        for _ in range(count):
            training.step()
    else:
        with torch.inference_mode():
            for _ in range(count):
                model(features).numpy()


def loss():
    expected = targets("test-targets.u8")[:batch]
    model.eval()
    with torch.inference_mode():
        value = loss_of(model(features), expected if labels else numbers(expected)).item()
    model.train(job == "train")
    return value


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
