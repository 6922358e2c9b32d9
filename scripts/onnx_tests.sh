#!/usr/bin/env bash
# Runs the backend tests of the ONNX project on GPU and CPU, and writes docs/onnx-tests.md. The last line counts the
# cases that passed, failed and were skipped. It installs onnx in a virtual environment: ONNX_VENV, or target/onnx-venv.
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/onnx_venv.sh numpy
cases=target/onnx-tests-$version

if [[ ! -f $cases/cases.tsv ]]; then
    "$python" scripts/onnx_cases.py "$cases"
fi
cargo run --release --example onnx_tests -- "$cases" --page docs/onnx-tests.md
