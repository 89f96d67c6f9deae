#!/bin/sh
# Make an image's environment: every pinned dependency of pyproject.toml, and a path to the code.
#   install.sh VENV [PACKAGE ...]     leaves the named packages out
# TORCH_OPTIONS says where torch comes from (CPU or CUDA); PIP_OPTIONS is passed to every install. Without onnxruntime,
# ONNX Runtime for CUDA is installed with its libraries, CUDA_OPTIONS saying from where.
set -eu
venv=$1
shift

python3 -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
# One cannot quote a list of options in sh; none of these holds a space of its own.
# shellcheck disable=SC2086
install() { pip install -q --no-cache-dir --no-compile "$@" ${PIP_OPTIONS:-}; }

# Not by install(): where wheels lie in folders, the CPU build would win over the CUDA build.
# shellcheck disable=SC2086
pip install -q --no-cache-dir --no-compile ${TORCH_OPTIONS:-} torch==2.13.0
install -c constraints.txt 'setuptools<81' wheel
"$venv/bin/python" - "$@" >requirements.txt <<'PY'
import re
import sys
import tomllib

with open("pyproject.toml", "rb") as stream:
    project = tomllib.load(stream)["project"]
# MLflow's server runs from these images, too.
wanted = project["dependencies"] + project["optional-dependencies"]["postgres"]
left_out = set(sys.argv[1:]) | {"torch"}
print("\n".join(w for w in wanted if re.match(r"[\w.-]+", w).group() not in left_out))
PY
install -c constraints.txt --no-build-isolation --find-links /built -r requirements.txt
case " $* " in
*" onnxruntime "*)
    # shellcheck disable=SC2086
    pip install -q --no-cache-dir --no-compile ${CUDA_OPTIONS:-${PIP_OPTIONS:-}} -c constraints.txt -c constraints-gpu.txt \
        "onnxruntime-gpu[cuda,cudnn]"
    ;;
esac
pip check || [ $# -gt 0 ]
# deepbet asks for these for its window alone.
pip uninstall -q -y customtkinter darkdetect

# The code lies in /opt/glioflow; what a step needs of packaging is one path and one command.
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo /opt/glioflow >"$packages/glioflow.pth"
cat >"$venv/bin/glioflow" <<PY
#!$venv/bin/python
from pipelines.cli import main

main()
PY
chmod 755 "$venv/bin/glioflow"

# Headers, static libraries and packaging tools serve only builds.
pip uninstall -q -y wheel setuptools pip
rm -rf "$packages/torch/include" "$packages/torch/share" "$packages/torch/test" "$packages"/torch/bin/protoc*
find "$packages" -name '*.a' -delete
# Bytecode that needs no time stamps: the root file system is read-only when steps start.
"$venv/bin/python" -m compileall -q -j 2 --invalidation-mode unchecked-hash "$packages" >/dev/null || true
