#!/usr/bin/env python3
"""Writes the NumPy files beside this script.

The Rust tests read these files; no test runs this script. Run it by hand after changing a case, then check in the
files:

    python3 -m venv venv
    venv/bin/pip install numpy
    venv/bin/python tests/numpy/generate.py

The stored files were made with numpy 2.4.6. Each array of shape [2, 3, 4] has the numbers 0 to 23 in C order.

With the name of a file that the library has written, it prints the arrays as NumPy reads them:

    venv/bin/python tests/numpy/generate.py FILE
"""

import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent


def main():
    numbers = np.arange(24).reshape(2, 3, 4)
    types = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
    arrays = {}
    for kind in types:
        for name, order in [("little", "<"), ("big", ">")]:
            arrays[f"{kind}_{name}"] = numbers.astype(order + kind)
            arrays[f"{kind}_{name}_fortran"] = np.asfortranarray(numbers.astype(order + kind))
    arrays["bool"] = numbers % 2 == 1
    arrays["single"] = np.float32(7)
    arrays["empty"] = np.zeros((0, 3), "f4")
    arrays["vector"] = np.arange(5, dtype="f4")
    np.savez(HERE / "arrays.npz", **arrays)
    np.savez_compressed(HERE / "compressed.npz", **arrays)
    for version in [1, 2, 3]:
        with open(HERE / f"version_{version}.npy", "wb") as file:
            np.lib.format.write_array(file, numbers.astype("f4"), version=(version, 0))
    np.save(HERE / "complex.npy", numbers.astype("c8"))
    np.savez_compressed(HERE / "digits.npz", images=np.arange(32, dtype="u1").reshape(2, 4, 4), labels=np.array([3, 1]))

    # Small whole numbers: every engine computes the same sums exactly.
    random = np.random.default_rng(1)
    [w1, w2] = [random.integers(-4, 5, shape) for shape in [(3, 5), (5, 2)]]
    [b1, b2] = [random.integers(-4, 5, shape) for shape in [5, 2]]
    x = random.integers(-4, 5, (7, 3))
    y = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    weights = {"dense_1.weight": w1, "dense_1.bias": b1, "dense_2.weight": w2, "dense_2.bias": b2}
    np.savez(HERE / "weights.npz", **{name: array.astype("f4") for name, array in weights.items()})
    # PyTorch's order and names, f64 and Fortran order.
    weights = {"0.weight": w1.T, "0.bias": b1, "2.weight": w2.T, "2.bias": b2}
    np.savez_compressed(HERE / "weights_units_first.npz", **{name: array.astype("f8") for name, array in weights.items()})
    np.savez(HERE / "predictions.npz", x=x.astype("f4"), y=y.astype("f4"))


if len(sys.argv) > 1:
    for name, array in np.load(sys.argv[1]).items():
        print(name, array.dtype, array.shape, array.ravel()[:4])
else:
    main()
