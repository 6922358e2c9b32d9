#!/usr/bin/env bash
# Writes networks with every kind of layer as ONNX files, and checks them with the `onnx` package and onnxruntime. The
# last line counts the files that passed and failed. It installs both in a virtual environment: ONNX_VENV, or
# target/onnx-venv.
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/onnx_venv.sh onnxruntime numpy safetensors
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
WGRAD_WRITE_ONNX=$folder cargo test --release --test onnx_out files_are_written
"$python" tests/onnx_out/check.py "$folder"
