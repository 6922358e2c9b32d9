# For the other ONNX scripts, which name the Python packages that they need besides `onnx`: sets `version` of onnx, and
# `python` of a virtual environment with it, ONNX_VENV or target/onnx-venv. Installs what is missing.
version=1.23.2
venv=${ONNX_VENV:-target/onnx-venv}
python=$venv/bin/python

if [[ ! -x $python ]]; then
    python3 -m venv "$venv"
fi
imports=$(printf ', %s' "$@")
if ! "$python" -c "import onnx$imports; assert onnx.__version__ == '$version'" 2>/dev/null; then
    "$python" -m pip install --quiet "onnx==$version" "$@"
fi
