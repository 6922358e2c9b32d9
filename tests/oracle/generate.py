#!/usr/bin/env python3
"""Writes the safetensors files beside this script, with PyTorch as the oracle.

The Rust tests compare the engine with these files; no test runs this script. Run it by hand
after changing a case, then check in the files:

    python3 -m venv venv
    venv/bin/pip install torch numpy safetensors
    venv/bin/python tests/oracle/generate.py           # writes, reloads, checks, prints a table
    venv/bin/python tests/oracle/generate.py --check   # only reloads, checks, prints

The stored files were made with torch 2.15.0 on a CPU; each file's metadata holds the version
under `torch_version`. Seeds are fixed, inputs come from NumPy's generator, so that a second run
writes the same bytes.

Inputs are float32. Expected values are computed by PyTorch in float64 from exactly these float32
inputs, and rounded to float32 once, when they are stored. README.md describes the files.
"""

import json
import math
import pathlib
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
torch.set_num_threads(1)


def rng(seed):
    return np.random.default_rng(seed)


def f32(values):
    """A float32 tensor: an input as it is stored."""
    return torch.tensor(np.asarray(values, dtype=np.float32))


def store(name, tensors, cases=None, plain=None):
    """Writes one file: float64 results are rounded to float32 here."""
    metadata = {"torch_version": str(torch.__version__)}
    metadata.update(plain or {})
    metadata.update({key: json.dumps(value, sort_keys=True) for key, value in (cases or {}).items()})
    out = {}
    for key, tensor in tensors.items():
        tensor = tensor.detach()
        if tensor.dtype == torch.float64:
            tensor = tensor.to(torch.float32)
        assert tensor.dtype in (torch.float32, torch.int32, torch.int64), key
        assert not torch.isnan(tensor.float()).any(), key
        if "extreme" not in key:
            assert torch.isfinite(tensor.float()).all(), key
        out[key] = tensor.contiguous().clone()
    path = HERE / f"{name}.safetensors"
    save_file(out, path, metadata=metadata)
    sort_header(path)


def sort_header(path):
    """Sorts the header's metadata, whose order the writer leaves to chance. No offset moves."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    header = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    path.chmod(0o644)


# 1. Activations ---------------------------------------------------------------------------------

LEAKY_SLOPE, ELU_ALPHA = 0.1, 0.7
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def elu(x, alpha):
    # expm1 is exact near zero. The clamp keeps the unused branch finite.
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


def gelu_tanh(x):
    # 0.5 (1 + tanh(u)) = sigmoid(2 u), which has no cancellation for negative x.
    return x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


# name: (function, PyTorch's function for a cross-check, limit at -inf, limit at inf, options)
ACTIVATIONS = {
    "identity": (lambda x: x * 1, nn.Identity(), -math.inf, math.inf, {}),
    "relu": (torch.relu, F.relu, 0.0, math.inf, {}),
    "leaky_relu": (
        lambda x: F.leaky_relu(x, LEAKY_SLOPE),
        lambda x: F.leaky_relu(x, LEAKY_SLOPE),
        -math.inf,
        math.inf,
        {"slope": LEAKY_SLOPE},
    ),
    "elu": (
        lambda x: elu(x, ELU_ALPHA),
        lambda x: F.elu(x, ELU_ALPHA),
        -ELU_ALPHA,
        math.inf,
        {"alpha": ELU_ALPHA},
    ),
    "selu": (
        lambda x: SELU_SCALE * elu(x, SELU_ALPHA),
        F.selu,
        -SELU_SCALE * SELU_ALPHA,
        math.inf,
        {"scale": SELU_SCALE, "alpha": SELU_ALPHA},
    ),
    "gelu_erf": (lambda x: 0.5 * x * torch.erfc(-x / math.sqrt(2)), F.gelu, 0.0, math.inf, {}),
    "gelu_tanh": (gelu_tanh, lambda x: F.gelu(x, approximate="tanh"), 0.0, math.inf, {}),
    "silu": (F.silu, F.silu, 0.0, math.inf, {}),
    "softplus": (
        lambda x: torch.logaddexp(x, torch.zeros_like(x)),
        lambda x: F.softplus(x, beta=1, threshold=40),
        0.0,
        math.inf,
        {"beta": 1.0},
    ),
    "sigmoid": (torch.sigmoid, torch.sigmoid, 0.0, 1.0, {}),
    "tanh": (torch.tanh, torch.tanh, -1.0, 1.0, {}),
    "hard_sigmoid": (lambda x: F.relu6(x + 3) / 6, F.hardsigmoid, 0.0, 1.0, {}),
    "hard_swish": (F.hardswish, F.hardswish, 0.0, math.inf, {}),
}


def activation_inputs(seed):
    """About 160 values, none at (or within 1e-3 of) the kinks at -3 and 3, none zero."""
    random = rng(seed)
    normal = 3 * random.standard_normal(148)
    normal = np.where(np.abs(np.abs(normal) - 3) < 1e-3, 3.5, normal)
    special = [1e4, 1e-30, 1e-40, 88.0, 100.0, 17.0]
    x = f32(np.concatenate([normal, special, [-value for value in special]]))
    assert (x != 0).all() and ((x.abs() - 3).abs() > 5e-4).all() and len(x) == 160
    return x, f32(random.standard_normal(160))


def pull_back(function, x, dy):
    x64 = x.double().requires_grad_()
    y = function(x64)
    (dx,) = torch.autograd.grad(y, x64, dy.double())
    return y, dx


def activations():
    tensors, cases = {}, {}
    for seed, (name, (function, torch_own, low, high, options)) in enumerate(ACTIVATIONS.items()):
        x, dy = activation_inputs(100 + seed)
        y, dx = pull_back(function, x, dy)
        own_y, own_dx = pull_back(torch_own, x, dy)
        torch.testing.assert_close(y, own_y, rtol=1e-12, atol=1e-12)
        # PyTorch's hardsigmoid rounds its slope of 1/6 to float32.
        rough = 4e-8 if name == "hard_sigmoid" else 1e-12
        torch.testing.assert_close(dx, own_dx, rtol=rough, atol=1e-12)
        extreme_x = f32([-math.inf, -1e4, 1e4, math.inf])
        extreme_y = function(extreme_x.double())
        limits = torch.tensor([low, high], dtype=torch.float64)
        ends = extreme_y[[0, 3]]
        torch.testing.assert_close(torch.where(ends.isnan(), limits, ends), limits)
        extreme_y = torch.cat([limits[:1], extreme_y[1:3], limits[1:]])
        parts = dict(x=x, dy=dy, y=y, dx=dx, extreme_x=extreme_x, extreme_y=extreme_y)
        tensors.update({f"{name}.{part}": tensor for part, tensor in parts.items()})
        cases[name] = options
    random = rng(120)
    x = 2 * random.standard_normal((6, 11))
    x[2] = [1e4, 1e4 - 1, -1e4, 0, 9998.5, -1e4, 1e4, 5e3, 1, -1, 9997]
    x[4] = 0.25
    x, dy = f32(x), f32(random.standard_normal((6, 11)))
    y, dx = pull_back(lambda v: torch.softmax(v, -1), x, dy)
    tensors.update({"softmax.x": x, "softmax.dy": dy, "softmax.y": y, "softmax.dx": dx})
    cases["softmax"] = {}
    store("activations", tensors, cases)


# 2. Losses --------------------------------------------------------------------------------------

ROWS, OUTPUTS = 7, 5
SMOOTHING = 0.1


def loss_case(row_losses, z, target, weight=None, reduction="mean"):
    """Loss, gradient and the rows' own (unweighted) losses, in float64."""
    z = z.double().requires_grad_()
    target = target.double() if target.is_floating_point() else target.long()
    rows = row_losses(z, target)
    assert rows.shape == (ROWS,)
    weighted = rows if weight is None else rows * weight.double()
    loss = weighted.sum() if reduction == "sum" else weighted.sum() / ROWS
    (gradient,) = torch.autograd.grad(loss, z)
    return {"loss": loss.reshape(1), "gradient": gradient, "row_loss": rows}


def mean_of(function, **options):
    return lambda z, target: function(z, target, reduction="none", **options).mean(-1)


def cross_entropy(smoothing=0.0):
    return lambda z, target: F.cross_entropy(z, target, reduction="none", label_smoothing=smoothing)


def losses():
    tensors, cases = {}, {}
    weight = f32([0.5, 1.75, 0.0, 2.25, 1.0, 0.125, 3.0])

    def add(name, row_losses, z, target, extra=None, weighted=False, **options):
        reduction = options.get("reduction", "mean")
        shown = {"output": z, "target": target, **(extra or {})}
        for case, row_weight in [(name, None), (f"{name}_weighted", weight)][: 1 + weighted]:
            parts = {**shown, **loss_case(row_losses, z, target, row_weight, reduction)}
            if row_weight is not None:
                parts["weight"] = row_weight
            tensors.update({f"{case}.{part}": tensor for part, tensor in parts.items()})
            cases[case] = {"reduction": "mean", **options, "weighted": row_weight is not None}

    def pair(seed):
        random = rng(seed)
        z, target = 2 * random.standard_normal((ROWS, OUTPUTS)), random.standard_normal((ROWS, OUTPUTS))
        # Errors keep a distance from the corners at 0, 0.5 and 1.
        error = np.abs(z - target)
        near = np.minimum(np.minimum(error, np.abs(error - 0.5)), np.abs(error - 1)) < 1e-2
        return f32(np.where(near, z + 0.05, z)), f32(target)

    add("mean_squared_error", mean_of(F.mse_loss), *pair(200), weighted=True)
    add(
        "sum_of_squares",
        lambda z, target: F.mse_loss(z, target, reduction="none").sum(-1),
        *pair(201),
        weighted=True,
        reduction="sum",
    )
    add("mean_absolute_error", mean_of(F.l1_loss), *pair(202))
    add("huber", mean_of(F.huber_loss, delta=0.5), *pair(203), weighted=True, delta=0.5)
    add("huber_1", mean_of(F.huber_loss, delta=1.0), *pair(204), delta=1.0)

    random = rng(205)
    z = 3 * random.standard_normal((ROWS, OUTPUTS))
    target = random.uniform(0, 1, (ROWS, OUTPUTS))
    z[4], target[4] = [50, -50, 50, -50, 0], [1, 0, 0.25, 0.75, 0.5]
    z[5], target[5] = [1e4, -1e4, 30, -30, 1e4], [1, 0, 1, 0, 1]
    z[6], target[6] = [1e4, -1e4, 1, -1, 2], [0.5, 1, 0, 1, 1]
    bce = mean_of(F.binary_cross_entropy_with_logits)
    add("binary_cross_entropy", bce, f32(z), f32(target), weighted=True, output="logits")

    z = f32(np.clip(2 * random.standard_normal((ROWS, OUTPUTS)), -4, 4))
    target = random.uniform(0, 1, (ROWS, OUTPUTS))
    target[0], target[1] = [0, 1, 0, 1, 1], [1, 1, 0, 0, 0]
    target = f32(target)
    output = torch.sigmoid(z.double())
    # Computed again from the output: the row losses must agree.
    own = F.binary_cross_entropy(output, target.double(), reduction="none").mean(-1)
    torch.testing.assert_close(own, bce(z.double(), target.double()))
    extra = {"logits": z, "output": output}
    add("binary_cross_entropy_sigmoid", bce, z, target, extra=extra, output="sigmoid(logits)")

    def logits(seed):
        random = rng(seed)
        z = 2 * random.standard_normal((ROWS, OUTPUTS))
        z[5] = [1000, -1000, 500, 0, -300]
        z[6] = [-800, 900, 899, 0, 300]
        labels = [*random.permutation(OUTPUTS), 2, 2]
        soft = random.dirichlet(np.ones(OUTPUTS), ROWS)
        soft[0] = [0, 0, 1, 0, 0]
        return f32(z), torch.tensor(labels, dtype=torch.int32), f32(soft)

    z, labels, _ = logits(206)
    add("softmax_cross_entropy", cross_entropy(), z, labels, weighted=True, output="logits")
    z, _, soft = logits(207)
    add("softmax_cross_entropy_soft", cross_entropy(), z, soft, output="logits")
    smooth = dict(output="logits", smoothing=SMOOTHING)
    z, labels, _ = logits(208)
    add("smoothed_softmax_cross_entropy", cross_entropy(SMOOTHING), z, labels, **smooth)
    z, _, soft = logits(209)
    add("smoothed_softmax_cross_entropy_soft", cross_entropy(SMOOTHING), z, soft, **smooth)
    store("losses", tensors, cases)


# 3. Optimizers ----------------------------------------------------------------------------------

PARAMETERS, STEPS = 64, 10


class Lion(torch.optim.Optimizer):
    """The paper's update (Chen and others, 2023), with decoupled weight decay."""

    def __init__(self, parameters, lr, betas, weight_decay):
        super().__init__(parameters, dict(lr=lr, betas=betas, weight_decay=weight_decay))
        self.least = math.inf  # the smallest |c|: its sign must not depend on rounding

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            lr, (b1, b2), decay = group["lr"], group["betas"], group["weight_decay"]
            for w in group["params"]:
                m = self.state[w].get("m", torch.zeros_like(w))
                c = b1 * m + (1 - b1) * w.grad
                self.least = min(self.least, c[c != 0].abs().min().item())
                w -= lr * (torch.sign(c) + decay * w)
                self.state[w]["m"] = b2 * m + (1 - b2) * w.grad


def sgd(**options):
    base = dict(lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False)
    return "sgd", torch.optim.SGD, {**base, **options}, {}


def rmsprop(**options):
    base = dict(lr=0.01, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False)
    return "rmsprop", torch.optim.RMSprop, {**base, **options}, {}


def adagrad(**options):
    base = dict(lr=0.1, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10)
    return "adagrad", torch.optim.Adagrad, {**base, **options}, {}


def adam(clip=None, **options):
    base = dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    return "adam", torch.optim.Adam, {**base, **options}, clip or {}


OPTIMIZERS = {
    "sgd": sgd(),
    "sgd_momentum": sgd(momentum=0.9),
    "sgd_nesterov": sgd(momentum=0.9, nesterov=True),
    "sgd_dampening": sgd(momentum=0.9, dampening=0.3),
    "sgd_weight_decay": sgd(momentum=0.9, weight_decay=0.01),
    "rmsprop": rmsprop(),
    "rmsprop_momentum": rmsprop(alpha=0.9, momentum=0.9, weight_decay=0.01),
    "adagrad": adagrad(),
    "adagrad_options": adagrad(lr_decay=0.05, initial_accumulator_value=0.1, weight_decay=0.01),
    "adam": adam(),
    "adam_weight_decay": adam(betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    "adamw": (
        "adamw",
        torch.optim.AdamW,
        dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1),
        {},
    ),
    "lion": ("lion", Lion, dict(lr=0.01, betas=(0.9, 0.99), weight_decay=0.1), {}),
    "adam_clip_norm": adam(clip={"clip_norm": 1.0}),
    "adam_clip_value": adam(clip={"clip_value": 0.3}),
}


def run_optimizer(case, start, gradients):
    _, make, options, clip = OPTIMIZERS[case]
    w = nn.Parameter(start.clone())
    optimizer = make([w], **options)
    rows = []
    for gradient in gradients:
        w.grad = gradient.clone()
        if "clip_norm" in clip:
            nn.utils.clip_grad_norm_([w], clip["clip_norm"])
        if "clip_value" in clip:
            nn.utils.clip_grad_value_([w], clip["clip_value"])
        optimizer.step()
        rows.append(w.detach().clone())
    if isinstance(optimizer, Lion):
        assert optimizer.least > 1e-10, optimizer.least
    return torch.stack(rows)


def optimizers():
    random = rng(300)
    start = f32(random.standard_normal(PARAMETERS))
    gradients = random.standard_normal((STEPS, PARAMETERS))
    # First, signs that persist, so that momentum builds up. Then, scales that make epsilon and clipping matter.
    gradients[:, :32] = 0.5 * gradients[:, :32] + random.choice([-1.0, 1.0], 32)
    gradients[:, 0] = 0  # the gradient is always zero
    gradients[4:, 1] = 0  # the gradient becomes zero
    gradients[:4, 2] = 0  # the gradient starts late
    gradients[:, 3] *= 1e-7
    gradients[:, 4] *= 1e-3
    gradients[:, 5] *= 20
    gradients[3] *= 0.02  # norm clipping does not change this step
    gradients[7] *= 5
    gradients = f32(gradients)
    norms = gradients.norm(dim=1)
    assert norms.min() < 1 < norms.max()
    tensors, cases = {"gradients": gradients, "start": start}, {}
    for case, (kind, _, options, clip) in OPTIMIZERS.items():
        tensors[f"{case}.parameters"] = run_optimizer(case, start.double(), gradients.double())
        cases[case] = {"optimizer": kind, **options, **clip}
    store("optimizers", tensors, cases)


# 4. Schedules -----------------------------------------------------------------------------------

UPDATES, BASE_RATE = 60, 0.1


def scheduled(make, updates=UPDATES):
    """The rates a PyTorch scheduler gives for `updates` updates."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=BASE_RATE)
    scheduler = make(optimizer)
    rates = []
    for update in range(updates):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if update + 1 < updates:
            scheduler.step()
    return rates


def schedules():
    of = torch.optim.lr_scheduler
    cosine = scheduled(lambda o: of.CosineAnnealingLR(o, T_max=50, eta_min=0.001), 51)
    after = scheduled(lambda o: of.CosineAnnealingLR(o, T_max=40, eta_min=0.0), 41)
    cycle = dict(max_lr=BASE_RATE, total_steps=UPDATES, pct_start=0.3, div_factor=25.0, final_div_factor=1e4)
    rates = {
        "constant": [BASE_RATE] * UPDATES,
        "step": scheduled(lambda o: of.StepLR(o, step_size=7, gamma=0.5)),
        "exponential": scheduled(lambda o: of.ExponentialLR(o, gamma=0.95)),
        # PyTorch's schedule rises again after T_max. Ours keeps the minimum.
        "cosine": cosine + [0.001] * (UPDATES - 51),
        "warmup_cosine": [BASE_RATE * (n + 1) / 10 for n in range(10)] + after + [0.0] * (UPDATES - 51),
        "one_cycle": scheduled(
            lambda o: of.OneCycleLR(o, anneal_strategy="cos", cycle_momentum=False, **cycle)
        ),
    }
    cases = {
        "constant": {"rate": BASE_RATE},
        "step": {"rate": BASE_RATE, "step_size": 7, "gamma": 0.5},
        "exponential": {"rate": BASE_RATE, "gamma": 0.95},
        "cosine": {"rate": BASE_RATE, "t_max": 50, "eta_min": 0.001},
        "warmup_cosine": {"rate": BASE_RATE, "warmup": 10, "t_max": 40, "eta_min": 0.0},
        "one_cycle": {**cycle, "anneal": "cos"},
    }
    tensors = {f"{name}.rates": torch.tensor(values, dtype=torch.float64) for name, values in rates.items()}
    assert all(tensor.shape == (UPDATES,) for tensor in tensors.values())

    # The loss first falls. Then it falls by less than the threshold each step, which adds up to an improvement. Then it
    # alternately stalls and falls until the rate is at its minimum.
    losses = [1.0, 0.8, 0.7, 0.69996, 0.69992, 0.69986, 0.69982, 0.6999, 0.69977, 0.7]
    losses += [0.6, 0.61, 0.62, 0.65, 0.64, 0.63, 0.62, 0.55, 0.56, 0.57]
    losses += [0.5, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56, 0.57, 0.4, 0.41]
    losses = f32(losses)
    options = dict(mode="min", factor=0.5, patience=2, threshold=1e-4, threshold_mode="abs", cooldown=0, min_lr=0.01)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=BASE_RATE)
    plateau = of.ReduceLROnPlateau(optimizer, **options)
    seen = []
    for loss in losses.tolist():
        plateau.step(loss)
        seen.append(float(optimizer.param_groups[0]["lr"]))
    tensors["plateau.losses"] = losses
    tensors["plateau.rates"] = torch.tensor(seen, dtype=torch.float64)
    cases["plateau"] = {"rate": BASE_RATE, **options}
    store("schedules", tensors, cases)


# 5. Layer normalization -------------------------------------------------------------------------

LAYER_NORM_EPS = 1e-5


def layer_norm():
    random = rng(500)
    x = random.standard_normal((6, 37))
    x[2] = 3 * x[2] + 20
    x[3] *= 3e-3  # about the square root of epsilon, so that epsilon matters
    x[4] *= 50
    x, dy = f32(x), f32(random.standard_normal((6, 37)))
    gamma, beta = f32(1 + 0.5 * random.standard_normal(37)), f32(0.5 * random.standard_normal(37))
    inputs = [tensor.double().requires_grad_() for tensor in (x, gamma, beta)]
    y = F.layer_norm(inputs[0], (37,), inputs[1], inputs[2], eps=LAYER_NORM_EPS)
    dx, dgamma, dbeta = torch.autograd.grad(y, inputs, dy.double())
    tensors = dict(x=x, gamma=gamma, beta=beta, dy=dy, y=y, dx=dx, dgamma=dgamma, dbeta=dbeta)
    store("layer_norm", tensors, {"layer_norm": {"eps": LAYER_NORM_EPS}})


# 6. A network as PyTorch stores it --------------------------------------------------------------


def fill(network, seed):
    """Parameters from NumPy's generator, as wide as PyTorch's own."""
    random = rng(seed)
    with torch.no_grad():
        for module in network:
            if isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.in_features)
                for parameter in module.parameters():
                    parameter.copy_(f32(random.uniform(-bound, bound, parameter.shape)))
            elif isinstance(module, (nn.LayerNorm, nn.BatchNorm1d)):
                module.weight.copy_(f32(1 + 0.3 * random.standard_normal(module.weight.shape)))
                module.bias.copy_(f32(0.3 * random.standard_normal(module.bias.shape)))
    return network


def sequential():
    layers = [nn.Linear(7, 9), nn.ReLU(), nn.LayerNorm(9), nn.Linear(9, 5, bias=False), nn.Tanh(), nn.Linear(5, 3)]
    network = fill(nn.Sequential(*layers), 600)
    # The usual metadata of a file from PyTorch.
    store("sequential", network.state_dict(), plain={"format": "pt"})
    x = f32(rng(601).standard_normal((4, 7)))
    store("sequential_io", {"input": x, "output": network.double()(x.double())})


# 7. A training ----------------------------------------------------------------------------------

TRAINING = dict(optimizer="adam", lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)


def train(network, x, labels, steps=30):
    options = {key: value for key, value in TRAINING.items() if key != "optimizer"}
    optimizer = torch.optim.Adam(network.parameters(), **options)
    losses, corner = [], math.inf
    for _ in range(steps):
        optimizer.zero_grad()
        before = network[2](network[1](network[0](x)))
        corner = min(corner, before.abs().min().item())
        loss = F.cross_entropy(network[4](network[3](before)), labels.long())
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), {key: value.detach() for key, value in network.state_dict().items()}, corner


def training():
    def start():
        layers = [nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)]
        return fill(nn.Sequential(*layers), 700)

    random = rng(701)
    x = f32(random.standard_normal((20, 6)))
    labels = torch.tensor(np.argmax(x.numpy() @ random.standard_normal((6, 3)), axis=1), dtype=torch.int32)
    assert set(labels.tolist()) == {0, 1, 2}
    losses, final, corner = train(start().double(), x.double(), labels)
    assert corner > 1e-5, corner  # no ReLU input is at the corner in any step
    # PyTorch's float32 run shows the tolerance that a float32 engine needs.
    losses32, final32, _ = train(start(), x, labels)
    loss_error = (losses32.double() - losses).abs().max().item()
    final_error = max((final32[key].double() - final[key]).abs().max().item() for key in final)
    print(f"training: float32 differs by {loss_error:.1e} in a loss, {final_error:.1e} in a parameter")
    assert loss_error < 1e-5 and final_error < 1e-4
    tensors = {"x": x, "labels": labels, "losses": losses, **start().state_dict()}
    tensors.update({f"final.{key}": value for key, value in final.items()})
    store("training", tensors, {"training": {**TRAINING, "loss": "softmax_cross_entropy", "steps": 30}})


# 8. Graphs --------------------------------------------------------------------------------------

GRAPH_SGD = dict(lr=0.1, momentum=0.9)
GRAPH_ADAM = dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8)
GRAPH_STEPS = 5
IGNORED = 255  # the label of an unlabelled position


class TwoEnds(nn.Module):
    """Two inputs, joined, and two outputs of the same hidden layer."""

    def __init__(self):
        super().__init__()
        self.image, self.numbers, self.joint = nn.Linear(60, 16), nn.Linear(3, 8), nn.Linear(24, 12)
        self.classes, self.value = nn.Linear(12, 4), nn.Linear(12, 2)
        self.relu = nn.ReLU()

    def forward(self, image, numbers):
        image = self.relu(self.image(image.flatten(1)))
        numbers = torch.tanh(self.numbers(numbers))
        joint = self.relu(self.joint(torch.cat([image, numbers], dim=1)))
        return {"class": self.classes(joint), "value": self.value(joint)}


class Residual(nn.Module):
    """Three blocks that add to what they get: layer normalization, then two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.relu = nn.Linear(10, 16), nn.Linear(16, 5), nn.ReLU()
        for block in range(3):
            self.add_module(f"norm{block}", nn.LayerNorm(16, eps=LAYER_NORM_EPS))
            self.add_module(f"wide{block}", nn.Linear(16, 16))
            self.add_module(f"back{block}", nn.Linear(16, 16))

    def forward(self, x):
        part = lambda name, block, value: getattr(self, f"{name}{block}")(value)
        x = self.relu(self.first(x))
        for block in range(3):
            x = x + part("back", block, self.relu(part("wide", block, part("norm", block, x))))
        return {"class": self.last(x)}


class Tied(nn.Module):
    """An autoencoder whose decoder has the encoder's weight, transposed."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder_bias = nn.Linear(20, 8), nn.Parameter(torch.zeros(20))

    def forward(self, x):
        code = torch.tanh(self.encoder(x))
        return {"x": torch.sigmoid(F.linear(code, self.encoder.weight.T, self.decoder_bias))}


class Positions(nn.Module):
    """Each of 7 positions by itself."""

    def __init__(self):
        super().__init__()
        self.hidden, self.classes, self.relu = nn.Linear(6, 9), nn.Linear(9, 4), nn.ReLU()

    def forward(self, x):
        return {"class": self.classes(self.relu(self.hidden(x)))}


def position_loss(logits, labels, reduction="sum"):
    losses = F.cross_entropy(logits.flatten(0, 1), labels.long().flatten(), ignore_index=IGNORED, reduction=reduction)
    # The mean is over all positions, including unlabelled ones.
    return losses / labels.numel() if reduction == "sum" else losses


def label_loss(logits, labels):
    return F.cross_entropy(logits, labels.long())


def integers(random, end, shape):
    return torch.tensor(random.integers(0, end, shape), dtype=torch.int32)


def graph_cases():
    """Of each network: what makes it, inputs, targets, and of each output the loss and its weight."""
    random = rng(800)
    normal = lambda *shape: f32(random.standard_normal(shape))
    cross_entropy, squares = (label_loss, "softmax_cross_entropy"), (F.mse_loss, "mean_squared_error")
    yield (
        "two_ends",
        TwoEnds,
        {"image": normal(10, 6, 5, 2), "numbers": normal(10, 3)},
        {"class": integers(random, 4, 10), "value": normal(10, 2)},
        {"class": (*cross_entropy, 1.0), "value": (*squares, 0.5)},
    )
    labels = {"class": integers(random, 5, 12)}
    yield "residual", Residual, {"x": normal(12, 10)}, labels, {"class": (*cross_entropy, 1.0)}
    x = f32(random.uniform(0, 1, (9, 20)))
    yield "tied", Tied, {"x": x}, {"x": x}, {"x": (*squares, 1.0)}
    labels = integers(random, 4, (8, 7))
    labels[torch.tensor(random.uniform(0, 1, (8, 7)) < 0.25)] = IGNORED
    labels[3] = IGNORED  # a whole sample without labels
    loss = (position_loss, "softmax_cross_entropy", 1.0)
    yield "positions", Positions, {"x": normal(8, 7, 6)}, {"class": labels}, {"class": loss}


def graph_losses(network, inputs, targets, losses):
    """The outputs, the loss of each, and the sum of the losses times their weights."""
    outputs = network(**inputs)
    each = {name: loss(outputs[name], targets[name]) for name, (loss, _, _) in losses.items()}
    return outputs, each, sum(weight * each[name] for name, (_, _, weight) in losses.items())


def doubled(tensors):
    return {key: value.double() if value.dtype == torch.float32 else value for key, value in tensors.items()}


def graph_training(network, inputs, targets, losses, make):
    """The losses before each step, the parameters after the last, and the least distance of a ReLU's input to 0."""
    corner = [math.inf]

    def watch(_module, inputs, _output):
        corner[0] = min(corner[0], inputs[0].abs().min().item())

    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(watch)
    optimizer, totals = make(network.parameters()), []
    for _ in range(GRAPH_STEPS):
        optimizer.zero_grad()
        _, _, total = graph_losses(network, inputs, targets, losses)
        total.backward()
        optimizer.step()
        totals.append(total.detach())
    return torch.stack(totals), {key: value.detach() for key, value in network.state_dict().items()}, corner[0]


def graphs():
    stored, cases = {}, {}
    for seed, (case, kind, inputs, targets, losses) in enumerate(graph_cases(), 801):

        def start():
            network = kind()
            fill(network.modules(), seed)
            if case == "tied":
                with torch.no_grad():
                    network.decoder_bias.copy_(f32(rng(810).uniform(-0.3, 0.3, 20)))
            return network

        def keep(what, tensors):
            for key, value in tensors.items():
                stored[f"{case}.{what}.{key}"] = value if value.ndim else value.reshape(1)

        network, of = start().double(), {key: value.double().requires_grad_() for key, value in inputs.items()}
        outputs, each, total = graph_losses(network, of, doubled(targets), losses)
        total.backward()
        keep("input", inputs)
        keep("target", targets)
        keep("start", start().state_dict())
        keep("output", outputs)
        keep("loss", {**each, "total": total})
        if case == "positions":
            # PyTorch's own mean, over the labelled positions only.
            keep("loss", {"labelled": position_loss(outputs["class"], targets["class"], "mean")})
        keep("gradient", {key: value.grad for key, value in network.named_parameters()})
        keep("input_gradient", {key: value.grad for key, value in of.items()})
        makes = {
            "sgd": lambda parameters: torch.optim.SGD(parameters, **GRAPH_SGD),
            "adam": lambda parameters: torch.optim.Adam(parameters, **GRAPH_ADAM),
        }
        for optimizer, make in makes.items():
            totals, final, corner = graph_training(start().double(), doubled(inputs), doubled(targets), losses, make)
            assert corner > 1e-5, (case, optimizer, corner)
            # PyTorch's float32 run shows the tolerance that a float32 engine needs.
            totals32, final32, _ = graph_training(start(), inputs, targets, losses, make)
            loss_error = (totals32.double() - totals).abs().max().item()
            error = max((final32[key].double() - final[key]).abs().max().item() for key in final)
            print(f"{case}, {optimizer}: float32 differs by {loss_error:.1e} in a loss, {error:.1e} in a parameter")
            assert loss_error < 1e-6 and error < 1e-5
            keep(optimizer, {**final, "losses": totals})
        cases[case] = {
            "losses": {name: loss for name, (_, loss, _) in losses.items()},
            "weights": {name: weight for name, (_, _, weight) in losses.items()},
            "sgd": GRAPH_SGD,
            "adam": GRAPH_ADAM,
            "steps": GRAPH_STEPS,
        }
    cases["positions"]["ignored"] = IGNORED
    store("graphs", stored, cases)


# The check: compares the stored files with independent formulas in NumPy ------------------------


def load(name):
    with safe_open(HERE / f"{name}.safetensors", framework="numpy") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    wide = {key: value.astype(np.float64) if value.dtype == np.float32 else value for key, value in tensors.items()}
    cases = {key: json.loads(value) for key, value in metadata.items() if key not in ("torch_version", "format")}
    return tensors, wide, cases


def close(got, expected, what, rtol=2e-7, atol=1e-9):
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol, err_msg=what)


def logistic(x):
    return np.where(x > 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def differences(function, x, relative=1e-6):
    """The derivative of a sum-like function by central differences, one element at a time."""
    out = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = relative * max(1.0, abs(x[index]))
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        out[index] = (function(up) - function(down)) / (up[index] - down[index])
    return out


def check_activations():
    _, t, _ = load("activations")
    root = math.sqrt(2 / math.pi)
    lower = lambda x: np.minimum(x, 0)
    formulas = {
        "identity": lambda x: x,
        "relu": lambda x: np.maximum(x, 0),
        "leaky_relu": lambda x: np.where(x > 0, x, 0.1 * x),
        "elu": lambda x: np.where(x > 0, x, 0.7 * np.expm1(lower(x))),
        "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(lower(x))),
        "gelu_erf": lambda x: x * 0.5 * np.vectorize(math.erfc)(-x / math.sqrt(2)),
        "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(root * (x + 0.044715 * x**3))),
        "silu": lambda x: x * logistic(x),
        "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        "sigmoid": logistic,
        "tanh": np.tanh,
        "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
        "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    }
    assert formulas.keys() == ACTIVATIONS.keys()
    for name, formula in formulas.items():
        x, dy = t[f"{name}.x"], t[f"{name}.dy"]
        close(t[f"{name}.y"], formula(x), name)
        step = 1e-5 * np.maximum(1, np.abs(x))
        far = np.abs(x) > 1e-3  # a difference would cross the corner at zero
        slope = (formula(x + step) - formula(x - step)) / (2 * step)
        straight = np.minimum(np.abs(x), np.abs(np.abs(x) - 3)) > 2 * step
        sure = far & straight
        assert sure.sum() > 140, name
        close(t[f"{name}.dx"][sure], (dy * slope)[sure], f"{name}.dx", rtol=1e-6, atol=1e-7)
        # Near zero: the one-sided slope, from points away from zero.
        tiny = ~far
        side = np.sign(x[tiny]) * 1e-7
        slope = (formula(2 * side) - formula(side)) / side
        close(t[f"{name}.dx"][tiny], dy[tiny] * slope, f"{name}.dx", rtol=1e-6, atol=1e-7)
        # For large arguments, the values approach the limits.
        for end, sign in ((0, -1), (3, 1)):
            value, limit = formula(np.array(sign * 1e5)), t[f"{name}.extreme_y"][end]
            if np.isinf(limit):
                assert value * sign >= 1e4 and limit * sign > 0, name
            else:
                close(value, limit, name)
        close(t[f"{name}.extreme_y"][1:3], formula(t[f"{name}.extreme_x"][1:3]), name)
    x, dy = t["softmax.x"], t["softmax.dy"]
    close(t["softmax.y"], softmax(x), "softmax")
    expected = differences(lambda v: (dy * softmax(v)).sum(), x, 1e-7)
    close(t["softmax.dx"][[0, 1, 3, 4, 5]], expected[[0, 1, 3, 4, 5]], "softmax.dx", rtol=1e-5, atol=1e-7)
    y = softmax(x)
    close(t["softmax.dx"], y * (dy - (dy * y).sum(-1, keepdims=True)), "softmax.dx")


def check_losses():
    _, t, cases = load("losses")

    def huber(z, target, delta):
        error = np.abs(z - target)
        return np.where(error < delta, error**2 / 2, delta * (error - delta / 2))

    def entropy(z, target, smoothing):
        if target.ndim == 1:
            target = np.eye(OUTPUTS)[target]
        target = target * (1 - smoothing) + smoothing / OUTPUTS
        return -(target * log_softmax(z)).sum(-1)

    bce = lambda z, target: np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z)))
    for case, options in cases.items():
        target = t[f"{case}.target"]
        if case.startswith("mean_squared"):
            rows = lambda z: ((z - target) ** 2).mean(-1)
        elif case.startswith("sum_of"):
            rows = lambda z: ((z - target) ** 2).sum(-1)
        elif case.startswith("mean_absolute"):
            rows = lambda z: np.abs(z - target).mean(-1)
        elif case.startswith("huber"):
            rows = lambda z: huber(z, target, options["delta"]).mean(-1)
        elif case.startswith("binary"):
            rows = lambda z: bce(z, target).mean(-1)
        else:
            rows = lambda z: entropy(z, target, options.get("smoothing", 0.0))
        weight = t.get(f"{case}.weight", np.ones(ROWS))
        assert (f"{case}.weight" in t) == options["weighted"] == case.endswith("_weighted")
        divisor = 1 if options["reduction"] == "sum" else ROWS
        z = t.get(f"{case}.logits", t[f"{case}.output"])
        loss = lambda v: (weight * rows(v)).sum() / divisor
        close(t[f"{case}.row_loss"], rows(z), case)
        close(t[f"{case}.loss"], [loss(z)], case)
        # Row by row: otherwise a row of large numbers would hide the differences of the others.
        for row in range(ROWS):
            one = np.zeros(ROWS)
            one[row] = weight[row] / divisor
            expected = differences(lambda v: (one * rows(v)).sum(), z)[row]
            close(t[f"{case}.gradient"][row], expected, f"{case} row {row}", rtol=1e-5, atol=2e-7)


def check_optimizers():
    _, t, cases = load("optimizers")
    for case, o in cases.items():
        w = t["start"].copy()
        m, v = np.zeros_like(w), np.full_like(w, o.get("initial_accumulator_value", 0.0))
        for n, g in enumerate(t["gradients"], 1):
            kind, lr, decay = o["optimizer"], o["lr"], o["weight_decay"]
            if "clip_norm" in o:
                g = g * min(1, o["clip_norm"] / (math.sqrt((g * g).sum()) + 1e-6))
            if "clip_value" in o:
                g = np.clip(g, -o["clip_value"], o["clip_value"])
            if kind in ("adamw", "lion"):
                w = w - lr * decay * w
            else:
                g = g + decay * w
            if kind == "sgd":
                m = g if n == 1 else o["momentum"] * m + (1 - o["dampening"]) * g
                w = w - lr * (g + o["momentum"] * m if o["nesterov"] else m)
            elif kind == "rmsprop":
                v = o["alpha"] * v + (1 - o["alpha"]) * g * g
                m = o["momentum"] * m + g / (np.sqrt(v) + o["eps"])
                w = w - lr * m
            elif kind == "adagrad":
                v = v + g * g
                w = w - lr / (1 + (n - 1) * o["lr_decay"]) * g / (np.sqrt(v) + o["eps"])
            elif kind == "lion":
                b1, b2 = o["betas"]
                w = w - lr * np.sign(b1 * m + (1 - b1) * g)
                m = b2 * m + (1 - b2) * g
            else:
                b1, b2 = o["betas"]
                m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
                w = w - lr * (m / (1 - b1**n)) / (np.sqrt(v / (1 - b2**n)) + o["eps"])
            close(t[f"{case}.parameters"][n - 1], w, f"{case} step {n}")


def check_schedules():
    _, t, _ = load("schedules")
    n = np.arange(UPDATES)
    fall = lambda top, bottom, part: bottom + (top - bottom) * (1 + np.cos(np.pi * np.minimum(part, 1))) / 2
    close(t["constant.rates"], 0.1 + 0 * n, "constant")
    close(t["step.rates"], 0.1 * 0.5 ** (n // 7), "step")
    close(t["exponential.rates"], 0.1 * 0.95**n, "exponential")
    close(t["cosine.rates"], fall(0.1, 0.001, n / 50), "cosine")
    close(t["warmup_cosine.rates"], np.where(n < 10, 0.01 * (n + 1), fall(0.1, 0, (n - 10) / 40)), "warmup_cosine")
    up, last = 0.3 * UPDATES - 1, UPDATES - 1
    cycle = np.where(n <= up, fall(0.004, 0.1, n / up), fall(0.1, 4e-7, (n - up) / (last - up)))
    close(t["one_cycle.rates"], cycle, "one_cycle")
    rate, best, bad = 0.1, math.inf, 0
    for loss, expected in zip(t["plateau.losses"], t["plateau.rates"]):
        best, bad = (loss, 0) if loss < best - 1e-4 else (best, bad + 1)
        if bad > 2:
            rate, bad = max(rate * 0.5, 0.01), 0
        close(expected, rate, "plateau")
    assert rate == 0.01


def check_networks():
    _, t, cases = load("layer_norm")
    x, gamma, beta, dy = t["x"], t["gamma"], t["beta"], t["dy"]

    def norm(x, gamma, beta):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + cases["layer_norm"]["eps"]) * gamma + beta

    close(t["y"], norm(x, gamma, beta), "layer_norm")
    close(t["dx"], differences(lambda v: (dy * norm(v, gamma, beta)).sum(), x, 1e-7), "dx", 1e-5, 2e-5)
    close(t["dgamma"], differences(lambda v: (dy * norm(x, v, beta)).sum(), gamma), "dgamma", 1e-6, 1e-7)
    close(t["dbeta"], differences(lambda v: (dy * norm(x, gamma, v)).sum(), beta), "dbeta", 1e-6, 1e-7)

    _, s, _ = load("sequential")
    _, io, _ = load("sequential_io")
    h = np.maximum(io["input"] @ s["0.weight"].T + s["0.bias"], 0)
    centred = h - h.mean(-1, keepdims=True)
    h = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * s["2.weight"] + s["2.bias"]
    close(io["output"], np.tanh(h @ s["3.weight"].T) @ s["5.weight"].T + s["5.bias"], "sequential")

    _, t, _ = load("training")

    def loss(p):
        h = np.tanh(t["x"] @ p["0.weight"].T + p["0.bias"])
        h = np.maximum(h @ p["2.weight"].T + p["2.bias"], 0)
        z = h @ p["4.weight"].T + p["4.bias"]
        return -log_softmax(z)[np.arange(20), t["labels"]].mean()

    names = [f"{layer}.{part}" for layer in (0, 2, 4) for part in ("weight", "bias")]
    p = {name: t[name] for name in names}
    state = {name: [np.zeros_like(p[name]), np.zeros_like(p[name])] for name in names}
    for n in range(1, 31):
        close(t["losses"][n - 1], loss(p), f"training loss {n}", rtol=1e-6)
        gradient = {name: differences(lambda v: loss({**p, name: v}), p[name], 1e-6) for name in names}
        for name, g in gradient.items():
            m, v = state[name]
            state[name] = m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            p[name] = p[name] - 0.01 * (m / (1 - 0.9**n)) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
    for name in names:
        close(t[f"final.{name}"], p[name], f"final {name}", rtol=1e-4, atol=1e-5)


def check_graphs():
    _, t, cases = load("graphs")
    relu = lambda x: np.maximum(x, 0)
    linear = lambda p, name, x: x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def norm(p, name, x):
        centred = x - x.mean(-1, keepdims=True)
        root = np.sqrt((centred**2).mean(-1, keepdims=True) + LAYER_NORM_EPS)
        return centred / root * p[f"{name}.weight"] + p[f"{name}.bias"]

    def two_ends(p, x):
        image = relu(linear(p, "image", x["image"].reshape(10, 60)))
        joint = np.concatenate([image, np.tanh(linear(p, "numbers", x["numbers"]))], axis=1)
        joint = relu(linear(p, "joint", joint))
        return {"class": linear(p, "classes", joint), "value": linear(p, "value", joint)}

    def residual(p, x):
        x = relu(linear(p, "first", x["x"]))
        for block in range(3):
            inner = relu(linear(p, f"wide{block}", norm(p, f"norm{block}", x)))
            x = x + linear(p, f"back{block}", inner)
        return {"class": linear(p, "last", x)}

    def tied(p, x):
        code = np.tanh(linear(p, "encoder", x["x"]))
        return {"x": logistic(code @ p["encoder.weight"] + p["decoder_bias"])}

    def positions(p, x):
        return {"class": linear(p, "classes", relu(linear(p, "hidden", x["x"])))}

    def entropy(z, labels):
        labelled = labels != IGNORED
        picked = np.take_along_axis(log_softmax(z), np.where(labelled, labels, 0)[..., None], -1)[..., 0]
        return -(picked * labelled).sum() / labels.size

    loss_of = {"softmax_cross_entropy": entropy, "mean_squared_error": lambda y, target: ((y - target) ** 2).mean()}
    for case, network in (("two_ends", two_ends), ("residual", residual), ("tied", tied), ("positions", positions)):
        options = cases[case]

        def part(what):
            prefix = f"{case}.{what}."
            return {key.removeprefix(prefix): value for key, value in t.items() if key.startswith(prefix)}

        inputs, targets, start = part("input"), part("target"), part("start")

        def losses(p, x):
            outputs = network(p, x)
            return {name: loss_of[loss](outputs[name], targets[name]) for name, loss in options["losses"].items()}

        total = lambda p, x: sum(options["weights"][name] * loss for name, loss in losses(p, x).items())

        def gradients(p):
            return {name: differences(lambda v: total({**p, name: v}, inputs), p[name]) for name in p}

        for name, output in network(start, inputs).items():
            close(t[f"{case}.output.{name}"], output, f"{case} {name}", rtol=1e-6, atol=1e-8)
        for name, loss in losses(start, inputs).items():
            close(t[f"{case}.loss.{name}"], [loss], f"{case} loss {name}")
        close(t[f"{case}.loss.total"], [total(start, inputs)], f"{case} total")
        if case == "positions":
            count = targets["class"].size / (targets["class"] != IGNORED).sum()
            close(t["positions.loss.labelled"], [count * total(start, inputs)], "labelled")
        assert part("gradient").keys() == start.keys()
        for name, gradient in gradients(start).items():
            close(t[f"{case}.gradient.{name}"], gradient, f"{case} gradient {name}", rtol=1e-6, atol=1e-8)
        for name, gradient in part("input_gradient").items():
            expected = differences(lambda v: total(start, {**inputs, name: v}), inputs[name])
            close(gradient, expected, f"{case} gradient of input {name}", rtol=1e-6, atol=1e-8)
        for optimizer, state in (("sgd", 1), ("adam", 2)):
            p, o = dict(start), options[optimizer]
            kept = {name: [np.zeros_like(w) for _ in range(state)] for name, w in p.items()}
            for n in range(1, options["steps"] + 1):
                close(t[f"{case}.{optimizer}.losses"][n - 1], total(p, inputs), f"{case} {optimizer} {n}", rtol=1e-6)
                for name, g in gradients(p).items():
                    if optimizer == "sgd":
                        (m,) = kept[name] = [o["momentum"] * kept[name][0] + g]
                        p[name] = p[name] - o["lr"] * m
                    else:
                        (b1, b2), (m, v) = o["betas"], kept[name]
                        m, v = kept[name] = [b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g]
                        p[name] = p[name] - o["lr"] * (m / (1 - b1**n)) / (np.sqrt(v / (1 - b2**n)) + o["eps"])
            for name in p:
                close(t[f"{case}.{optimizer}.{name}"], p[name], f"{case} {optimizer} {name}", rtol=1e-5, atol=1e-6)


# 9. Batch normalization --------------------------------------------------------------------------

BATCH_NORM = dict(eps=1e-5, momentum=0.1)
NORMED_SGD = dict(lr=0.1, momentum=0.9)
NORMED_STEPS = 5


def normed():
    layers = [nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8, **BATCH_NORM), nn.ReLU(), nn.Linear(8, 3)]
    return fill(nn.Sequential(*layers), 900)


def normed_training(network, x, labels):
    optimizer = torch.optim.SGD(network.parameters(), **NORMED_SGD)
    losses, corner = [], math.inf
    for _ in range(NORMED_STEPS):
        optimizer.zero_grad()
        before = network[1](network[0](x))
        corner = min(corner, before.abs().min().item())
        loss = F.cross_entropy(network[3](network[2](before)), labels.long())
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), {key: value.detach().clone() for key, value in network.state_dict().items()}, corner


def batch_norm():
    random = rng(901)
    # Samples, positions, channels. PyTorch has the channels in the second dimension.
    x = random.standard_normal((5, 4, 7))
    x[..., 2] = 3 * x[..., 2] + 20
    x[..., 3] *= 3e-3  # about the square root of epsilon, so that epsilon matters
    x[..., 4] *= 50
    x, dy = f32(x), f32(random.standard_normal((5, 4, 7)))
    gamma, beta = f32(1 + 0.5 * random.standard_normal(7)), f32(0.5 * random.standard_normal(7))
    mean, variance = f32(random.standard_normal(7)), f32(random.uniform(0.5, 2, 7))
    inputs = [tensor.double().requires_grad_() for tensor in (x, gamma, beta)]
    running = [mean.double(), variance.double()]

    def norm(training):
        y = F.batch_norm(inputs[0].transpose(1, 2), *running, *inputs[1:], training=training, **BATCH_NORM)
        return y.transpose(1, 2)

    given = norm(False)
    y = norm(True)  # changes the running statistics
    dx, dgamma, dbeta = torch.autograd.grad(y, inputs, dy.double())
    tensors = dict(x=x, gamma=gamma, beta=beta, dy=dy, y=y, dx=dx, dgamma=dgamma, dbeta=dbeta, mean=mean)
    tensors.update({"variance": variance, "evaluated": given, "after.mean": running[0], "after.variance": running[1]})

    x = f32(3 + 2 * random.standard_normal((12, 6)))
    labels = torch.tensor(np.argmax(x.numpy() @ random.standard_normal((6, 3)), axis=1), dtype=torch.int32)
    assert len(set(labels.tolist())) > 1
    losses, final, corner = normed_training(normed().double(), x.double(), labels)
    assert corner > 1e-5, corner
    losses32, final32, _ = normed_training(normed(), x, labels)
    loss_error = (losses32.double() - losses).abs().max().item()
    final_error = max((final32[key].double() - final[key]).abs().max().item() for key in final)
    print(f"batch_norm: float32 differs by {loss_error:.1e} in a loss, {final_error:.1e} in a number of the state")
    assert loss_error < 1e-5 and final_error < 1e-5
    # The outputs in evaluation, from the state as a file stores it.
    stored = {key: value.float() if value.is_floating_point() else value for key, value in final.items()}
    network = normed()
    network.load_state_dict(stored)
    tensors.update({"net.x": x, "net.labels": labels, "net.losses": losses})
    tensors["net.evaluated"] = network.double().eval()(x.double())
    start = {key: value for key, value in normed().state_dict().items() if value.is_floating_point()}
    tensors.update({f"net.start.{key}": value for key, value in start.items()})
    tensors.update({f"net.final.{key}": final[key] for key in start})
    options = {**NORMED_SGD, "steps": NORMED_STEPS, "loss": "softmax_cross_entropy"}
    store("batch_norm", tensors, {"batch_norm": BATCH_NORM, "net": options})
    store("batch_norm_state", stored, plain={"format": "pt"})


def check_batch_norm():
    _, t, cases = load("batch_norm")
    eps, momentum = cases["batch_norm"]["eps"], cases["batch_norm"]["momentum"]
    x, gamma, beta, dy = t["x"], t["gamma"], t["beta"], t["dy"]
    flat = (0, 1)

    def norm(x, gamma, beta):
        centred = x - x.mean(flat)
        return centred / np.sqrt((centred**2).mean(flat) + eps) * gamma + beta

    close(t["y"], norm(x, gamma, beta), "batch_norm", atol=1e-7)
    close(t["dx"], differences(lambda v: (dy * norm(v, gamma, beta)).sum(), x, 1e-7), "dx", 1e-5, 2e-5)
    close(t["dgamma"], differences(lambda v: (dy * norm(x, v, beta)).sum(), gamma), "dgamma", 1e-6, 1e-7)
    close(t["dbeta"], differences(lambda v: (dy * norm(x, gamma, v)).sum(), beta), "dbeta", 1e-6, 1e-7)
    close(t["evaluated"], (x - t["mean"]) / np.sqrt(t["variance"] + eps) * gamma + beta, "evaluated", atol=1e-7)
    close(t["after.mean"], (1 - momentum) * t["mean"] + momentum * x.mean(flat), "running mean")
    unbiased = x.var(flat, ddof=1)
    close(t["after.variance"], (1 - momentum) * t["variance"] + momentum * unbiased, "running variance")

    names = ["0.weight", "1.weight", "1.bias", "3.weight", "3.bias"]
    p = {name: t[f"net.start.{name}"] for name in names}
    running = [t["net.start.1.running_mean"], t["net.start.1.running_var"]]
    velocity = {}

    def loss(p):
        h = t["net.x"] @ p["0.weight"].T
        centred = h - h.mean(0)
        h = centred / np.sqrt((centred**2).mean(0) + eps) * p["1.weight"] + p["1.bias"]
        z = np.maximum(h, 0) @ p["3.weight"].T + p["3.bias"]
        return -log_softmax(z)[np.arange(12), t["net.labels"]].mean()

    for n in range(NORMED_STEPS):
        close(t["net.losses"][n], loss(p), f"loss {n}", rtol=1e-6)
        h = t["net.x"] @ p["0.weight"].T
        for at, of_batch in enumerate((h.mean(0), h.var(0, ddof=1))):
            running[at] = (1 - momentum) * running[at] + momentum * of_batch
        gradient = {name: differences(lambda v: loss({**p, name: v}), p[name], 1e-6) for name in names}
        for name, g in gradient.items():
            velocity[name] = g if n == 0 else 0.9 * velocity[name] + g
            p[name] = p[name] - 0.1 * velocity[name]
    for name in names:
        close(t[f"net.final.{name}"], p[name], f"final {name}", rtol=1e-5, atol=1e-6)
    close(t["net.final.1.running_mean"], running[0], "final mean", rtol=1e-5, atol=1e-6)
    close(t["net.final.1.running_var"], running[1], "final variance", rtol=1e-5, atol=1e-6)


# Image layers without weights -------------------------------------------------------------------


def pool(layer, shape, size, stride, padding=(0, 0)):
    return shape, dict(layer=layer, size=size, stride=stride, padding=padding)


def pad(layer, shape, rows, columns):
    return shape, dict(layer=layer, rows=rows, columns=columns)


# Shapes are [batch, height, width, channels].
IMAGES = {
    "max_2": pool("max_pool", (2, 6, 8, 4), (2, 2), (2, 2)),
    "max_3_overlapping": pool("max_pool", (2, 7, 6, 3), (3, 3), (2, 2), (1, 1)),
    "max_apart": pool("max_pool", (1, 9, 8, 4), (2, 3), (3, 5), (1, 0)),
    "max_steps": pool("max_pool", (2, 1, 11, 5), (1, 4), (1, 3), (0, 2)),
    "average_2": pool("average_pool", (2, 6, 8, 4), (2, 2), (2, 2)),
    "average_3_overlapping": pool("average_pool", (2, 7, 6, 3), (3, 2), (2, 1), (1, 1)),
    "average_7": pool("average_pool", (1, 7, 8, 4), (7, 7), (7, 7), (3, 2)),
    "nearest_2": ((2, 3, 4, 4), dict(layer="nearest", factor=(2, 2))),
    "nearest_to": ((1, 5, 7, 3), dict(layer="nearest", target=(8, 3))),
    "bilinear_2": ((2, 3, 4, 4), dict(layer="bilinear", factor=(2, 2))),
    "bilinear_3": ((1, 4, 1, 3), dict(layer="bilinear", factor=(3, 4))),
    "bilinear_to": ((1, 6, 5, 4), dict(layer="bilinear", target=(4, 11))),
    "zeros": pad("zeros", (1, 3, 4, 4), (1, 0), (2, 3)),
    "reflect": pad("reflect", (1, 4, 5, 3), (3, 1), (0, 4)),
    "replicate": pad("replicate", (1, 3, 2, 4), (2, 1), (0, 3)),
    "depth_to_space": ((1, 2, 3, 18), dict(layer="depth_to_space", block=3)),
    "space_to_depth": ((1, 4, 6, 3), dict(layer="space_to_depth", block=2)),
}


def image_layer(case, x):
    """As PyTorch has it: x is [batch, channels, height, width]."""
    kind = case["layer"]
    if kind == "max_pool":
        return F.max_pool2d(x, case["size"], case["stride"], case["padding"])
    if kind == "average_pool":
        return F.avg_pool2d(x, case["size"], case["stride"], case["padding"], count_include_pad=False)
    if kind in ("nearest", "bilinear"):
        options = dict(align_corners=False) if kind == "bilinear" else {}
        return F.interpolate(x, case.get("target"), case.get("factor"), mode=kind, **options)
    if kind in ("zeros", "reflect", "replicate"):
        return F.pad(x, (*case["columns"], *case["rows"]), "constant" if kind == "zeros" else kind)
    # TensorFlow's order of channels, converted to and from PyTorch's.
    area = case["block"] ** 2
    if kind == "depth_to_space":
        return F.pixel_shuffle(x.unflatten(1, (area, -1)).transpose(1, 2).flatten(1, 2), case["block"])
    return F.pixel_unshuffle(x, case["block"]).unflatten(1, (-1, area)).transpose(1, 2).flatten(1, 2)


def images():
    random = rng(1101)
    tensors = {}
    for name, (shape, case) in IMAGES.items():
        x = f32(random.standard_normal(shape))
        wide = x.double().requires_grad_()
        y = image_layer(case, wide.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        dy = f32(random.standard_normal(y.shape))
        (dx,) = torch.autograd.grad(y, wide, dy.double())
        tensors.update({f"{name}.x": x, f"{name}.y": y, f"{name}.dy": dy, f"{name}.dx": dx})
    store("images", tensors, {name: case for name, (_, case) in IMAGES.items()})


def interpolation(kind, n, m):
    """[m, n]: what each output is made of."""
    out = np.zeros((m, n))
    for i in range(m):
        if kind == "nearest":
            out[i, i * n // m] = 1
        else:
            at = min(max((2 * i + 1) * n / (2 * m) - 0.5, 0), n - 1)
            for j in range(n):
                out[i, j] = max(0, 1 - abs(at - j))
    return out


def resized(case, x):
    """The same in NumPy: x is [batch, height, width, channels]."""
    kind, (samples, height, width, channels) = case["layer"], x.shape
    if kind.endswith("pool"):
        (kh, kw), (sh, sw), (ph, pw) = case["size"], case["stride"], case["padding"]
        x = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=np.nan)
        rows, columns = (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1
        reduce = np.nanmax if kind == "max_pool" else np.nanmean
        windows = [[x[:, i * sh :, j * sw :][:, :kh, :kw] for j in range(columns)] for i in range(rows)]
        return np.stack([np.stack([reduce(w, (1, 2)) for w in row], 1) for row in windows], 1)
    if kind in ("nearest", "bilinear"):
        target = case.get("target") or [n * f for n, f in zip((height, width), case["factor"])]
        rows, columns = (interpolation(kind, n, m) for n, m in zip((height, width), target))
        return np.einsum("ih,jw,bhwc->bijc", rows, columns, x)
    if kind in ("zeros", "reflect", "replicate"):
        mode = dict(zeros="constant", reflect="reflect", replicate="edge")[kind]
        return np.pad(x, ((0, 0), case["rows"], case["columns"], (0, 0)), mode)
    r = case["block"]
    if kind == "depth_to_space":
        x = x.reshape(samples, height, width, r, r, -1).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(samples, height * r, width * r, -1)
    x = x.reshape(samples, height // r, r, width // r, r, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(samples, height // r, width // r, -1)


def check_images():
    _, t, cases = load("images")
    for name, case in cases.items():
        x, dy = t[f"{name}.x"], t[f"{name}.dy"]
        close(t[f"{name}.y"], resized(case, x), name)
        close(t[f"{name}.dx"], differences(lambda v: (dy * resized(case, v)).sum(), x), f"{name} dx", 1e-6, 1e-7)


# Group, instance and RMS normalisation ----------------------------------------------------------

# Shapes are [batch, height, width, channels].
NORMS = {
    "group": ((2, 5, 4, 6), dict(layer="group", groups=3, eps=1e-5)),
    "whole": ((3, 4, 3, 5), dict(layer="group", groups=1, eps=1e-3)),
    "instance": ((2, 6, 3, 5), dict(layer="instance", groups=5, eps=1e-5)),
    "rms": ((2, 3, 2, 37), dict(layer="rms", groups=1, eps=2.0**-23)),
}


def norm_layer(case, x, gamma, beta):
    """As PyTorch has it; x is [batch, height, width, channels]."""
    if case["layer"] == "rms":
        return F.rms_norm(x, x.shape[-1:], gamma, case["eps"])
    x = x.permute(0, 3, 1, 2)
    if case["layer"] == "instance":
        return F.instance_norm(x, weight=gamma, bias=beta, eps=case["eps"]).permute(0, 2, 3, 1)
    return F.group_norm(x, case["groups"], gamma, beta, case["eps"]).permute(0, 2, 3, 1)


def norms():
    random = rng(1207)
    tensors = {}
    for name, (shape, case) in NORMS.items():
        x, dy = (f32(random.standard_normal(shape) + by) for by in (0.5, 0))
        gamma, beta = (f32(random.standard_normal(shape[-1])) for _ in range(2))
        inputs = [tensor.double().requires_grad_() for tensor in (x, gamma, beta)]
        y = norm_layer(case, *inputs)
        found = torch.autograd.grad(y, inputs, dy.double(), allow_unused=True)
        named = dict(x=x, gamma=gamma, beta=beta, y=y, dy=dy) | dict(zip(("dx", "dgamma", "dbeta"), found))
        tensors.update({f"{name}.{key}": value for key, value in named.items() if value is not None})
    store("norms", tensors, {name: case for name, (_, case) in NORMS.items()})


def normalised(case, x, gamma, beta):
    """The same in NumPy."""
    if case["layer"] == "rms":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + case["eps"]) * gamma
    split = x.reshape(x.shape[0], -1, case["groups"], x.shape[-1] // case["groups"])
    mean, variance = (of(split, axis=(1, 3), keepdims=True) for of in (np.mean, np.var))
    return ((split - mean) / np.sqrt(variance + case["eps"])).reshape(x.shape) * gamma + beta


def check_norms():
    _, t, cases = load("norms")
    for name, case in cases.items():
        x, gamma, beta, dy = (t[f"{name}.{key}"] for key in ("x", "gamma", "beta", "dy"))
        close(t[f"{name}.y"], normalised(case, x, gamma, beta), name, atol=1e-7)
        dx = differences(lambda v: (dy * normalised(case, v, gamma, beta)).sum(), x)
        close(t[f"{name}.dx"], dx, f"{name} dx", 1e-6, 1e-6)
        x_hat = normalised(case, x, np.ones_like(gamma), np.zeros_like(beta))
        close(t[f"{name}.dgamma"], (dy * x_hat).sum((0, 1, 2)), f"{name} dgamma", atol=1e-6)


# Convolutions ----------------------------------------------------------------------------------


def conv(shape, channels, kernel, stride=(1, 1), dilation=(1, 1), padding=((0, 0), (0, 0)), groups=1):
    return shape, dict(channels=channels, kernel=kernel, stride=stride, dilation=dilation, padding=padding, groups=groups)


def transposed(shape, channels, kernel, stride=(1, 1), output_padding=(0, 0), **options):
    shape, case = conv(shape, channels, kernel, stride, **options)
    return shape, case | dict(output_padding=output_padding)


# Shapes are [batch, height, width, channels], or [batch, steps, channels]. A sequence uses only the second number of
# each option.
CONVOLUTIONS = {
    "same_3": conv((2, 5, 6, 4), 8, (3, 3), padding=((1, 1), (1, 1))),
    "valid_5_by_4": conv((1, 7, 6, 3), 5, (5, 4)),
    "one_by_one": conv((2, 2, 3, 33), 5, (1, 1)),
    "seven": conv((1, 7, 8, 1), 4, (7, 7), (2, 2), padding=((3, 3), (3, 3))),
    "stride_2_same": conv((2, 6, 5, 4), 8, (3, 3), (2, 2), padding=((0, 1), (1, 1))),
    "stride_over_kernel": conv((2, 7, 9, 3), 4, (2, 2), (3, 4)),
    "dilated": conv((1, 8, 9, 4), 4, (3, 2), (1, 2), (2, 3), ((2, 2), (0, 1))),
    "row": conv((2, 1, 9, 5), 3, (1, 3), padding=((0, 0), (1, 1))),
    "groups": conv((2, 4, 5, 6), 8, (3, 3), padding=((1, 1), (1, 1)), groups=2),
    "depthwise": conv((1, 5, 6, 5), 5, (3, 3), padding=((1, 1), (1, 1)), groups=5),
    "depthwise_twice_stride_2": conv((2, 5, 4, 4), 8, (3, 3), (2, 2), padding=((1, 1), (1, 1)), groups=4),
    "steps": conv((3, 11, 4), 6, (4, 4), (2, 2)),
    "steps_dilated_groups": conv((2, 9, 6), 4, (3, 3), (1, 1), (2, 2), ((2, 2), (2, 2)), 2),
    "transposed_2": transposed((2, 3, 4, 6), 4, (2, 2), (2, 2)),
    "transposed_3": transposed((1, 4, 3, 4), 8, (3, 3), (2, 2), (1, 0), padding=((1, 1), (1, 1))),
    "transposed_dilated": transposed((1, 3, 4, 3), 5, (3, 2), (2, 3), dilation=(2, 1)),
    "transposed_groups": transposed((2, 3, 3, 6), 4, (3, 3), (2, 2), (0, 1), padding=((1, 1), (1, 1)), groups=2),
    "transposed_steps": transposed((2, 5, 4), 3, (4, 4), (3, 3)),
}


def convolve(case, x, w, b):
    """As PyTorch has it; x and the result have their channels last, w is PyTorch's."""
    steps = x.dim() == 3
    of = lambda name: case[name][1:] if steps else case[name]
    x = x.movedim(-1, 1)
    if "output_padding" in case:
        layer = F.conv_transpose1d if steps else F.conv_transpose2d
        padding = [before for before, _ in of("padding")]
        y = layer(x, w, b, of("stride"), padding, of("output_padding"), case["groups"], of("dilation"))
    else:
        layer = F.conv1d if steps else F.conv2d
        x = F.pad(x, [length for sides in reversed(of("padding")) for length in sides])
        y = layer(x, w, b, of("stride"), 0, of("dilation"), case["groups"])
    return y.movedim(1, -1)


def convolutions():
    random = rng(1301)
    tensors = {}
    for name, (shape, case) in CONVOLUTIONS.items():
        inputs, outputs, groups = shape[-1], case["channels"], case["groups"]
        channels = (inputs, outputs // groups) if "output_padding" in case else (outputs, inputs // groups)
        kernel = case["kernel"][1:] if len(shape) == 3 else case["kernel"]
        x, w, b = (f32(random.standard_normal(s)) for s in (shape, (*channels, *kernel), outputs))
        wide = [tensor.double().requires_grad_() for tensor in (x, w, b)]
        y = convolve(case, *wide)
        dy = f32(random.standard_normal(y.shape))
        dx, dw, db = torch.autograd.grad(y, wide, dy.double())
        named = dict(x=x, weight=w, bias=b, y=y, dy=dy, dx=dx, dweight=dw, dbias=db)
        tensors.update({f"{name}.{key}": value for key, value in named.items()})
    store("convolutions", tensors, {name: case for name, (_, case) in CONVOLUTIONS.items()})


def convolved(case, x, w, b):
    """The same in NumPy, tap by tap."""
    if x.ndim == 3:
        return convolved(case, x[:, None], w[:, :, None], b)[:, 0]
    (sh, sw), (dh, dw), groups = case["stride"], case["dilation"], case["groups"]
    (top, bottom), (left, right) = case["padding"]
    kh, kw = w.shape[2:]
    if kh == 1 and w.shape[2] != case["kernel"][0]:  # a sequence
        sh, dh, top, bottom = 1, 1, 0, 0
    split = lambda t: np.split(t, groups, -1)
    if "output_padding" not in case:
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        rows, columns = (x.shape[1] - dh * (kh - 1) - 1) // sh + 1, (x.shape[2] - dw * (kw - 1) - 1) // sw + 1
        y = 0
        for i, j in np.ndindex(kh, kw):
            seen = x[:, i * dh :: sh, j * dw :: sw][:, :rows, :columns]
            y = y + np.concatenate([part @ of.T for part, of in zip(split(seen), np.split(w[:, :, i, j], groups))], -1)
        return y + b
    more = case["output_padding"] if w.shape[2] == case["kernel"][0] else (0, case["output_padding"][1])
    rows, columns = (n - 1 for n in x.shape[1:3])
    y = np.zeros((x.shape[0], rows * sh + dh * (kh - 1) + 1 + more[0], columns * sw + dw * (kw - 1) + 1 + more[1], len(b)))
    for i, j in np.ndindex(kh, kw):
        part = np.concatenate([part @ of for part, of in zip(split(x), np.split(w[:, :, i, j], groups))], -1)
        y[:, i * dh :: sh, j * dw :: sw][:, : rows + 1, : columns + 1] += part
    return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right] + b


def check_convolutions():
    _, t, cases = load("convolutions")
    for name, case in cases.items():
        x, w, b, dy = (t[f"{name}.{key}"] for key in ("x", "weight", "bias", "dy"))
        close(t[f"{name}.y"], convolved(case, x, w, b), name, atol=1e-6)
        # The loss is linear in each, so differences over a step of 1 have only rounding errors.
        for key, value in dict(dx=x, dweight=w, dbias=b).items():
            given = dict(dx=x, dweight=w, dbias=b)
            loss = lambda v: (dy * convolved(case, *(given | {key: v}).values())).sum()
            close(t[f"{name}.{key}"], differences(loss, value, 1.0), f"{name} {key}", atol=1e-5)


# Second derivatives -----------------------------------------------------------------------------

EIKONAL_WEIGHT = 0.3
FREQUENCY = 5.0


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(FREQUENCY * x)


class Squareplus(nn.Module):
    def forward(self, x):
        return 0.5 * (x + torch.sqrt(x * x + 4))


class Exponential(nn.Module):
    def forward(self, x):
        return torch.exp(x)


# name: (inputs, the units and the activation of each layer)
SECOND = {
    "softplus": (3, [(8, nn.Softplus()), (6, nn.Softplus()), (1, nn.Identity())]),
    "tanh": (2, [(8, nn.Tanh()), (8, nn.Tanh()), (1, nn.Identity())]),
    "sine": (2, [(8, Sine()), (8, Sine()), (1, nn.Identity())]),
    "mixed": (3, [(7, nn.SiLU()), (5, Squareplus()), (1, Exponential())]),
}


def second_derivatives():
    tensors, cases = {}, {}
    for seed, (name, (inputs, layers)) in enumerate(SECOND.items()):
        random = rng(1400 + seed)
        widths = [inputs, *(units for units, _ in layers)]
        dense = fill([nn.Linear(*pair) for pair in zip(widths, widths[1:])], 1410 + seed)
        stored = {f"{i}.{key}": value for i, layer in enumerate(dense) for key, value in layer.state_dict().items()}
        tensors.update({f"{name}.{key}": value.clone() for key, value in stored.items()})
        weights = [parameter for layer in dense for parameter in layer.double().parameters()]
        x, target = f32(random.standard_normal((5, inputs))), f32(random.standard_normal((5, 1)))
        wide = x.double().requires_grad_()
        y = wide
        for layer, (_, activation) in zip(dense, layers):
            y = activation(layer(y))
        (g,) = torch.autograd.grad(y.sum(), wide, create_graph=True)

        def loss_of(y, g):
            return ((y - target.double()) ** 2).mean() + EIKONAL_WEIGHT * ((g.norm(dim=1) - 1) ** 2).mean()

        loss = loss_of(y, g)
        dx, *gradients = torch.autograd.grad(loss, [wide, *weights])
        # Copies, because g is computed from y if the last layer is an exponential.
        ends = [tensor.detach().requires_grad_() for tensor in (y, g)]
        dy, dg = torch.autograd.grad(loss_of(*ends), ends)
        parts = dict(x=x, target=target, y=y, g=g, loss=loss.reshape(1), dy=dy, dg=dg, dx=dx)
        tensors.update({f"{name}.{part}": tensor for part, tensor in parts.items()})
        tensors.update({f"{name}.gradient.{key}": gradient for key, gradient in zip(stored, gradients)})
        activations = [type(activation).__name__.lower() for _, activation in layers]
        cases[name] = dict(activations=activations, eikonal=EIKONAL_WEIGHT, frequency=FREQUENCY)
    store("second_derivatives", tensors, cases)


def check_second_derivatives():
    """The gradient of the network by tangents along each axis, and the gradients of the loss by differences."""
    _, t, cases = load("second_derivatives")
    formulas = {
        "identity": (lambda z: z, np.ones_like),
        "softplus": (lambda z: np.logaddexp(z, 0), logistic),
        "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
        "sine": (lambda z: np.sin(FREQUENCY * z), lambda z: FREQUENCY * np.cos(FREQUENCY * z)),
        "silu": (lambda z: z * logistic(z), lambda z: logistic(z) * (1 + z * (1 - logistic(z)))),
        "squareplus": (lambda z: (z + np.hypot(z, 2)) / 2, lambda z: (1 + z / np.hypot(z, 2)) / 2),
        "exponential": (np.exp, np.exp),
    }
    for name, case in cases.items():
        target = t[f"{name}.target"]
        given = {f"{i}.{key}": t[f"{name}.{i}.{key}"] for i in range(3) for key in ("weight", "bias")}

        def outputs(x, w):
            y, tangents = x, np.broadcast_to(np.eye(x.shape[1]), (len(x), x.shape[1], x.shape[1]))
            for i, activation in enumerate(case["activations"]):
                f, slope = formulas[activation]
                z = y @ w[f"{i}.weight"].T + w[f"{i}.bias"]
                y, tangents = f(z), tangents @ w[f"{i}.weight"].T * slope(z)[:, None]
            return y, tangents[..., 0]

        def loss(x, w):
            y, g = outputs(x, w)
            return ((y - target) ** 2).mean() + EIKONAL_WEIGHT * ((np.linalg.norm(g, axis=1) - 1) ** 2).mean()

        x = t[f"{name}.x"]
        y, g = outputs(x, given)
        close(t[f"{name}.y"], y, name)
        close(t[f"{name}.g"], g, f"{name} g")
        close(t[f"{name}.loss"], loss(x, given), f"{name} loss")
        close(t[f"{name}.dx"], differences(lambda v: loss(v, given), x, 1e-5), f"{name} dx", 1e-5, 1e-6)
        for key, value in given.items():
            expected = differences(lambda v: loss(x, given | {key: v}), value, 1e-5)
            close(t[f"{name}.gradient.{key}"], expected, f"{name} {key}", 1e-5, 1e-6)


def table():
    total = 0
    for path in sorted(HERE.glob("*.safetensors")):
        tensors, _, _ = load(path.stem)
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
        total += path.stat().st_size
        print(f"\n{path.name}: {path.stat().st_size} bytes, torch {metadata['torch_version']}")
        for key, value in tensors.items():
            low, high = value.min(), value.max()
            print(f"  {key:52} {str(value.dtype):8} {str(list(value.shape)):9} {low:.6g} .. {high:.6g}")
        for key, value in sorted(metadata.items()):
            if key != "torch_version":
                print(f"  # {key}: {value}")
    print(f"\n{total} bytes together")
    assert total < 400_000


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: generate.py [--check]")
    if not sys.argv[1:]:
        for write in (activations, losses, optimizers, schedules, layer_norm, sequential, training, graphs, batch_norm, images, norms, convolutions, second_derivatives):
            write()
    checks = (check_activations, check_losses, check_optimizers, check_schedules, check_networks, check_graphs)
    for check in (*checks, check_batch_norm, check_images, check_norms, check_convolutions, check_second_derivatives):
        check()
        print(f"{check.__name__}: passed")
    table()


if __name__ == "__main__":
    main()
