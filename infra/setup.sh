#!/usr/bin/env bash
# Make a virtual environment and install glioflow into it, in the order its dependencies need.
# EXTRAS (default dev) are the optional dependencies; PIP_OPTIONS are passed to every pip install.
set -euo pipefail
venv=${1:?usage: setup.sh VENV}
python=${PYTHON:-python3}
extras=${EXTRAS-dev}
read -ra options <<<"${PIP_OPTIONS:-}"

say() { echo "setup: $*" >&2; }

"$python" - <<'PY' || { say "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 2; }
import sys
sys.exit(sys.version_info < (3, 11))
PY
# pyradiomics has no wheel for this Python: it is compiled here.
command -v cc >/dev/null || { say "a C compiler is needed: apt-get install build-essential"; exit 2; }
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$headers/Python.h" ] || { say "Python's headers are needed: apt-get install python3-dev"; exit 2; }

say "installing into $venv (a few minutes the first time)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
install() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet install "${options[@]}" "$@"; }

# torch first and pinned: a bare or newer torch pulls several GB of CUDA libraries.
install 'torch==2.13.0'
# pyradiomics' setup.py imports numpy, so it must be built outside pip's isolation.
install -c constraints.txt 'setuptools<81' wheel numpy cython versioneer
install -c constraints.txt --no-build-isolation 'pyradiomics==3.0.1'
install -c constraints.txt --no-build-isolation -e ".${extras:+[$extras]}"
say "done"
