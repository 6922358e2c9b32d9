#!/usr/bin/env python3
"""Trains a classifier of the digits 0 to 4 with PyTorch and writes it to `digits_0_to_4.onnx` beside this script. The
example `finetune` loads that file. Run it by hand, then check in the file:

    python3 -m venv venv
    venv/bin/pip install torch onnx onnxscript numpy
    venv/bin/python examples/finetune/digits.py
"""

import gzip
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
MNIST = HERE.parents[1] / "data/mnist"


class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.hidden = nn.Linear(16 * 5 * 5, 32)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.head(F.relu(self.hidden(x.flatten(1))))


def read(part):
    images = np.frombuffer(gzip.decompress((MNIST / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((MNIST / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    few = labels < 5
    images = images.reshape(-1, 1, 28, 28)[few].astype(np.float32) / 255
    return torch.tensor(images), torch.tensor(labels[few].astype(np.int64))


def main():
    torch.manual_seed(0)
    (images, labels), (test_images, test_labels) = read("train"), read("t10k")
    model = Digits()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
    for _ in range(2):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    model.eval()
    accuracy = (model(test_images).argmax(1) == test_labels).float().mean()
    print(f"test accuracy {100 * accuracy:.2f}%")
    torch.onnx.export(
        model,
        (test_images[:2],),
        str(HERE / "digits_0_to_4.onnx"),
        input_names=["image"],
        output_names=["digit"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )


if __name__ == "__main__":
    main()
