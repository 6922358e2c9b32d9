#!/usr/bin/env python3
"""Writes the ONNX files beside this script with PyTorch's exporter, and their results by onnxruntime.

The Rust tests compare the library with these files; no test runs this script. Run it by hand after changing a case,
then check in the files:

    python3 -m venv venv
    venv/bin/pip install torch onnx==1.23.2 onnxscript onnxruntime safetensors numpy
    venv/bin/python tests/onnx/generate.py

The stored files were made with torch 2.15.0, onnx 1.23.2 and onnxruntime 1.32.0. Each case is `<name>.onnx`;
`expected.safetensors` holds `<name>.input` and `<name>.output`, both in the order of the file (channels first).
"""

import pathlib
import warnings

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
warnings.filterwarnings("ignore")


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.skip(x))


class Shuffle(nn.Module):
    """A block of ShuffleNet: groups, a split, and a channel shuffle as reshape and transpose."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 6, 1, groups=2)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.last = nn.Linear(12 * 5 * 5, 3)

    def forward(self, x):
        a, b = x[:, :6], x[:, 6:]
        y = self.depthwise(F.hardswish(self.first(b)))
        y = torch.cat([a, y], 1)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.last(y.flatten(1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(4, 8, 3, padding=1, dilation=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.mask = nn.Conv2d(11, 2, 1)

    def forward(self, x):
        a = F.leaky_relu(self.down(x), 0.1)
        b = F.silu(self.up(F.gelu(self.deep(a))))
        c = F.interpolate(a, scale_factor=2, mode="bilinear", align_corners=False)
        y = F.pad(torch.cat([b, c, x], 1), (1, 1, 1, 1), mode="reflect")
        y = F.avg_pool2d(y, 3, 1)
        return torch.sigmoid(self.mask(y))


class Resizing(nn.Module):
    def forward(self, x):
        y = F.interpolate(x, scale_factor=2, mode="nearest")
        y = F.interpolate(y, size=(9, 7), mode="bilinear", align_corners=False)
        y = F.pixel_shuffle(torch.cat([y] * 2, 1), 2)
        return F.max_pool2d(y, 3, 2, 1, ceil_mode=True)


class Encoder(nn.Module):
    """Layer normalisation, attention by softmax, and arithmetic on shapes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.position = nn.Parameter(torch.randn(1, 5, 8) * 0.1)
        self.mlp = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x):
        x = x + self.position
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).view(n, t, 3, 2, 4).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-1, -2) / 2.0, -1)
        x = x + self.out((a @ v).transpose(1, 2).reshape(n, t, c))
        x = x + self.mlp(x)
        return F.log_softmax(x.mean(1), -1)


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 3, padding=1)
        self.norm = nn.GroupNorm(3, 6)
        self.instance = nn.InstanceNorm1d(6, affine=True)
        self.prelu = nn.PReLU(6)

    def forward(self, x):
        y = self.prelu(self.norm(self.conv(x)))
        y = self.instance(F.max_pool1d(y, 2))
        return torch.clamp(y, -1.0, 0.8).amax(2)


class Squeeze(nn.Module):
    """Squeeze and excitation: a product of an image with one number for each channel."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.fc1 = nn.Conv2d(8, 2, 1)
        self.fc2 = nn.Conv2d(2, 8, 1)
        self.norm2 = nn.BatchNorm2d(8)

    def forward(self, x):
        y = F.relu6(self.norm(self.conv(x)))
        s = F.adaptive_avg_pool2d(y, 1)
        s = F.hardsigmoid(self.fc2(F.relu(self.fc1(s))))
        y = self.norm2(y * s)
        return y.permute(0, 2, 3, 1)


class Elementary(nn.Module):
    """Functions of one number that are no usual activations."""

    def forward(self, x):
        y = 0.1 + 0.8 * torch.sigmoid(x)
        of_any = [torch.abs, torch.asinh, torch.atan, torch.ceil, torch.cos, torch.cosh, torch.erf, torch.exp]
        of_any += [torch.floor, F.mish, F.relu6, torch.round, torch.sign, torch.sin, torch.sinh, F.softsign]
        of_small = [torch.acos, torch.asin, torch.atanh, torch.log, torch.reciprocal, torch.sqrt, torch.tan]
        return torch.cat([f(x) for f in of_any] + [f(y) for f in of_small] + [torch.acosh(y + 1.5)], 1)


def mlp():
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5, bias=False), nn.Tanh(), nn.Linear(5, 3), nn.Softmax(-1))


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(6 * 5 * 5, 12), nn.ELU(0.7), nn.Dropout(0.3), nn.Linear(12, 10),
    )


def resnet():
    return nn.Sequential(Residual(3, 4, 1), Residual(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


CASES = {
    "mlp": (mlp(), (6,), {}),
    "mlp_opset_9": (mlp(), (6,), {"dynamo": False, "opset_version": 9}),
    "lenet": (lenet(), (1, 28, 28), {}),
    "lenet_opset_11": (lenet(), (1, 28, 28), {"dynamo": False, "opset_version": 11}),
    "resnet": (resnet(), (3, 9, 8), {}),
    "resnet_static": (resnet(), (3, 9, 8), {"dynamo": False, "opset_version": 13, "static": True, "norms": True}),
    "shuffle": (Shuffle(), (10, 5, 5), {}),
    "shuffle_opset_13": (Shuffle(), (10, 5, 5), {"dynamo": False, "opset_version": 13}),
    "unet": (UNet(), (3, 8, 6), {"dynamo": False, "opset_version": 17}),
    "resizing": (Resizing(), (2, 5, 4), {}),
    "encoder": (Encoder(), (5, 8), {}),
    "encoder_opset_14": (Encoder(), (5, 8), {"dynamo": False, "opset_version": 14}),
    "sequence": (Sequence(), (3, 12), {}),
    "sequence_opset_17": (Sequence(), (3, 12), {"dynamo": False, "opset_version": 17}),
    "squeeze": (Squeeze(), (3, 7, 7), {}),
    "elementary": (Elementary(), (6,), {}),
}


def main():
    rng = np.random.default_rng(7)
    expected = {}
    for index, (name, (module, shape, options)) in enumerate(CASES.items()):
        torch.manual_seed(index)
        options = dict(options)
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -0.6, 0.6)
        for other in module.modules():
            if isinstance(other, nn.BatchNorm2d):
                nn.init.uniform_(other.running_mean, -0.5, 0.5)
                nn.init.uniform_(other.running_var, 0.5, 2.0)
        module.eval()
        x = torch.tensor(rng.standard_normal((2, *shape)), dtype=torch.float32)
        static = options.pop("static", False)
        if options.get("dynamo", True):
            options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
            options["external_data"] = False
        elif not static:
            options["dynamic_axes"] = {"input": {0: "batch"}, "output": {0: "batch"}}
        if options.pop("norms", False):  # The exporter would fold them.
            options.update(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
        path = HERE / f"{name}.onnx"
        torch.onnx.export(module, (x,), str(path), input_names=["input"], output_names=["output"], verbose=False, **options)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (output,) = session.run(None, {"input": x.numpy()})
        expected[f"{name}.input"], expected[f"{name}.output"] = x.numpy(), output
        print(name, path.stat().st_size, output.shape)
    save_file(expected, HERE / "expected.safetensors")


if __name__ == "__main__":
    main()
