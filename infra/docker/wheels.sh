#!/usr/bin/env bash
# Download every pinned wheel that the images install, for builds without a network.
#   infra/docker/wheels.sh FOLDER [gpu|triton-gpu]      gpu: torch for CUDA alone; triton-gpu: ONNX Runtime for CUDA alone
# Run with PYTHON of the images' own version; pyradiomics is taken as source, and compiled in the build.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:?usage: wheels.sh FOLDER [gpu]}
python=${PYTHON:-.venv/bin/python}

mkdir -p "$folder"
key=$(cat constraints.txt pyproject.toml infra/docker/constraints-gpu.txt | sha256sum | cut -c1-16)-${2:-cpu}
[ ! -f "$folder/.complete-$key" ] || exit 0

download() { "$python" -m pip --disable-pip-version-check download -q --dest "$folder" "$@"; }
if [ "${2:-}" = gpu ]; then
    # A build for one machine ("+cpu") would win over the CUDA build of the same version.
    PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS="" download -c constraints.txt -c infra/docker/constraints-gpu.txt torch==2.13.0
elif [ "${2:-}" = triton-gpu ]; then
    download -c constraints.txt -c infra/docker/constraints-gpu.txt "onnxruntime-gpu[cuda,cudnn]"
else
    mapfile -t wanted < <("$python" - <<'PY'
import tomllib

with open("pyproject.toml", "rb") as stream:
    project = tomllib.load(stream)["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"]["postgres"]))
PY
    )
    # pip reads pyradiomics' metadata by running its setup.py, which needs numpy beside it.
    download --no-build-isolation -c constraints.txt 'setuptools<81' wheel numpy cython versioneer "${wanted[@]}"
fi
touch "$folder/.complete-$key"
