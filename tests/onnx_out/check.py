#!/usr/bin/env python3
"""Checks the ONNX files that the test `onnx_out` has written to a folder: by the checker of the `onnx` package with
full shape inference, and by the results of onnxruntime. `scripts/onnx_out.sh` runs it.

    python check.py FOLDER
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

# Both sides compute in f32. A result has at most a few hundred roundings of numbers up to the largest one. The test in
# Rust has the same bound.
BOUND = 256 * np.finfo(np.float32).eps


def check(path, expected):
    """The largest difference of an output, as a share of its bound."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert all(value.type.tensor_type.shape.dim[0].dim_param == "N" for value in [*model.graph.input, *model.graph.output])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    first = path.stem.endswith(".channels_first")
    moved = lambda x, to, at: np.ascontiguousarray(np.moveaxis(x, at, to)) if first and x.ndim > 2 else x
    given = {key.split(".", 1)[1]: moved(x, 1, -1) for key, x in expected.items() if key.startswith("input.")}
    names = [key.split(".", 1)[1] for key in expected if key.startswith("output.")]
    worst = 0.0
    for name, y in zip(names, session.run(names, given)):
        wanted, y = expected[f"output.{name}"], moved(y, -1, 1)
        assert y.shape == wanted.shape, f"{path.name}, {name}: shape {y.shape}, expected {wanted.shape}"
        share = np.abs(y - wanted).max() / (BOUND * max(1.0, np.abs(wanted).max()))
        assert share <= 1.0, f"{path.name}, {name}: {share:.2f} times the bound"
        worst = max(worst, share)
    return worst


def main():
    folder = pathlib.Path(sys.argv[1])
    faults, passed = [], 0
    for path in sorted(folder.glob("*.onnx")):
        expected = load_file(folder / f"{path.name.split('.')[0]}.safetensors")
        try:
            print(f"{path.stem}: largest difference {check(path, expected):.3f} of the bound")
            passed += 1
        except Exception as error:
            faults.append(f"{path.stem}: {type(error).__name__}: {error}")
    print(*faults, sep="\n")
    print(f"{passed} passed, {len(faults)} failed")
    sys.exit(1 if faults or not passed else 0)


if __name__ == "__main__":
    main()
