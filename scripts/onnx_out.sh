#!/usr/bin/env bash
# Writes networks with every kind of layer as ONNX files, and checks them with the `onnx` package and onnxruntime.
# PYTHON: a Python with onnx, onnxruntime, numpy and safetensors. Default: a virtual environment in target/onnx-venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -z ${PYTHON:-} ]]; then
    venv=target/onnx-venv
    PYTHON=$venv/bin/python
    [[ -x $PYTHON ]] || python3 -m venv "$venv"
    "$PYTHON" -m pip install --quiet onnx==1.23.2 onnxruntime numpy safetensors
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
WGRAD_WRITE_ONNX=$folder cargo test --release --test onnx_out files_are_written
"$PYTHON" tests/onnx_out/check.py "$folder"
