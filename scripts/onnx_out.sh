#!/usr/bin/env bash
# Writes networks with every kind of layer as ONNX files, and checks them with the `onnx` package and onnxruntime. The
# last line counts the files that passed and failed. It installs both in a virtual environment: ONNX_VENV, or
# target/onnx-venv.
set -euo pipefail
cd "$(dirname "$0")/.."

version=1.23.2
venv=${ONNX_VENV:-target/onnx-venv}

if [[ ! -x $venv/bin/python ]]; then
    python3 -m venv "$venv"
fi
imports="import onnx, onnxruntime, numpy, safetensors"
if ! "$venv/bin/python" -c "$imports; assert onnx.__version__ == '$version'" 2>/dev/null; then
    "$venv/bin/python" -m pip install --quiet "onnx==$version" onnxruntime numpy safetensors
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
WGRAD_WRITE_ONNX=$folder cargo test --release --test onnx_out files_are_written
"$venv/bin/python" tests/onnx_out/check.py "$folder"
