#!/usr/bin/env bash
# Runs the backend tests of the ONNX project on GPU and CPU, and writes docs/onnx-tests.md. The last line counts the
# cases that passed, failed and were skipped. It installs onnx in a virtual environment: ONNX_VENV, or target/onnx-venv.
set -euo pipefail
cd "$(dirname "$0")/.."

version=1.23.2
venv=${ONNX_VENV:-target/onnx-venv}
cases=target/onnx-tests-$version

if [[ ! -x $venv/bin/python ]]; then
    python3 -m venv "$venv"
fi
if ! "$venv/bin/python" -c "import onnx, numpy; assert onnx.__version__ == '$version'" 2>/dev/null; then
    "$venv/bin/python" -m pip install --quiet "onnx==$version" numpy
fi
if [[ ! -f $cases/cases.tsv ]]; then
    "$venv/bin/python" scripts/onnx_cases.py "$cases"
fi
cargo run --release --features onnx --example onnx_tests -- "$cases" --page docs/onnx-tests.md
