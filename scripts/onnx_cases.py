"""Writes the backend test cases of the ONNX project as files: onnx_cases.py FOLDER

Each case is a folder with model.onnx and test_data_set_0/{input,output}_K.pb. The tensors have their names and raw
data. cases.tsv has a line for each case: its path, the tolerances, the operators, and the types of inputs and outputs.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.runner import Runner

DATA = Path(onnx.__file__).parent / "backend/test/data"


def type_name(info):
    """The element type of a tensor, or the kind of another value."""
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        return kind.removesuffix("_type")
    return onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type).lower()


def array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def inputs(model):
    """The inputs that are no weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in weights]


def operators(graph):
    """The operators of a graph and of the graphs in its attributes."""
    found = set()
    for node in graph.node:
        found.add(".".join(filter(None, [node.domain.removeprefix("ai.onnx"), node.op_type])).lstrip("."))
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                found |= operators(inner)
    return found


def write(folder, path, model, data, tolerances):
    """Writes a case. Returns its line of cases.tsv."""
    values = folder / path / "test_data_set_0"
    values.mkdir(parents=True, exist_ok=True)
    (folder / path / "model.onnx").write_bytes(model.SerializeToString())
    for side, infos, tensors in [("input", inputs(model), data[0]), ("output", model.graph.output, data[1])]:
        for i, (info, tensor) in enumerate(zip(infos, tensors)):
            if info.type.HasField("tensor_type"):
                proto = numpy_helper.from_array(np.asarray(array(tensor)), info.name)
                (values / f"{side}_{i}.pb").write_bytes(proto.SerializeToString())
    types = [",".join(type_name(info) for info in infos) for infos in (inputs(model), model.graph.output)]
    return "\t".join([path, *map(str, tolerances), ",".join(sorted(operators(model.graph))), *types])


def node_cases(folder):
    for case in collect_testcases(None):
        yield write(folder, f"node/{case.name}", case.model, case.data_sets[0], (case.rtol, case.atol))


def pytorch_cases(folder):
    """Models that an early PyTorch exported."""
    read = lambda path: onnx.load_tensor(path)
    for case in sorted((DATA / "pytorch-converted").iterdir()):
        if not (case / "model.onnx").exists():
            continue
        values = case / "test_data_set_0"
        data = [[read(values / f"{side}_{i}.pb") for i in range(len(list(values.glob(f"{side}_*.pb"))))]
                for side in ("input", "output")]
        yield write(folder, f"pytorch-converted/{case.name}", onnx.load(case / "model.onnx"), data, (1e-3, 1e-7))


def light_cases(folder):
    """Well-known classifiers with constant weights. Their inputs are made as the project's runner makes them."""
    for case in sorted((DATA / "real").glob("test_*/data.json")):
        about = json.loads(case.read_text())
        path = DATA / "light" / Path(about["url"]).name
        model = onnx.load(path)
        data = [[Runner.generate_dummy_data(info) for info in inputs(model)],
                [onnx.load_tensor(path.with_name(f"{path.stem}_output_{i}.pb")) for i in range(len(model.graph.output))]]
        yield write(folder, f"light/{about['model_name']}", model, data, (about["rtol"], about["atol"]))


def main():
    warnings.filterwarnings("ignore")
    folder = Path(sys.argv[1])
    lines = [line for kind in (node_cases, pytorch_cases, light_cases) for line in kind(folder)]
    # Written last: it says that all cases are there.
    (folder / "cases.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
