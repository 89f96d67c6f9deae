#!/usr/bin/env bash
# Build the images `cpu`, `gpu`, `triton` and `triton-gpu` with whichever builder works here.
#   infra/docker/build.sh [cpu] [gpu] [triton] [triton-gpu]
#
#   BUILDER=docker|podman|buildah   REGISTRY=ghcr.io/glioflow   BASE_IMAGE=python:3.11-slim-bookworm@sha256:...
#   PIP_OPTIONS, TORCH_CPU, TORCH_GPU: options of pip        BUILD_OPTIONS: options of the builder
#
# With buildah and no BASE_IMAGE, the base is made from Debian's packages (base.sh) and wheels are downloaded
# outside (wheels.sh): nothing but a Debian mirror and a Python package index is needed.
set -euo pipefail
cd "$(dirname "$0")/../.."

registry=${REGISTRY:-ghcr.io/glioflow}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
created=$(git log -1 --format=%cI 2>/dev/null || true)
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(cpu gpu triton triton-gpu)

say() { echo "build.sh: $*" >&2; }

# A client without its daemon is no builder: ask each whether it works.
works() {
    case $1 in
        buildah) command -v buildah >/dev/null && buildah info >/dev/null 2>&1 ;;
        *) command -v "$1" >/dev/null && "$1" info >/dev/null 2>&1 ;;
    esac
}
builder=${BUILDER:-}
for candidate in docker podman buildah; do
    if [ -z "$builder" ] && works "$candidate"; then builder=$candidate; fi
done
if [ -z "$builder" ]; then
    say "no container builder works here; on Debian: apt-get install buildah debootstrap"
    exit 2
fi

common=(--file infra/docker/Dockerfile --build-arg "COMMIT=$commit" --build-arg "VERSION=$version" --build-arg "CREATED=$created")
if [ "$builder" = buildah ]; then
    # Chroot isolation asks nothing of the kernel that a plain machine refuses.
    common+=(--isolation "${ISOLATION:-chroot}" --format docker --layers)
    if [ -z "${BASE_IMAGE:-}" ]; then
        BASE_IMAGE=localhost/glioflow-base:bookworm
        buildah inspect --type image "$BASE_IMAGE" >/dev/null 2>&1 || bash infra/docker/base.sh "$BASE_IMAGE"
        offline=build/wheels
    fi
fi
[ -z "${BASE_IMAGE:-}" ] || common+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")

for target in "${targets[@]}"; do
    options=("${common[@]}")
    if [ -n "${offline:-}" ]; then
        bash infra/docker/wheels.sh "$offline/cpu"
        options+=(--volume "$PWD/$offline:/wheels:ro" --build-arg "PIP_OPTIONS=--no-index --find-links /wheels/cpu"
                  --build-arg "TORCH_CPU=--no-index --find-links /wheels/cpu")
        if [ "$target" = gpu ]; then
            bash infra/docker/wheels.sh "$offline/gpu" gpu
            options+=(--build-arg "TORCH_GPU=--no-index --find-links /wheels/gpu")
        elif [ "$target" = triton-gpu ]; then
            bash infra/docker/wheels.sh "$offline/triton-gpu" triton-gpu
            options+=(--build-arg "CUDA_OPTIONS=--no-index --find-links /wheels/cpu --find-links /wheels/triton-gpu")
        fi
    else
        [ -z "${PIP_OPTIONS:-}" ] || options+=(--build-arg "PIP_OPTIONS=$PIP_OPTIONS")
        [ -z "${TORCH_CPU:-}" ] || options+=(--build-arg "TORCH_CPU=$TORCH_CPU")
        [ -z "${TORCH_GPU:-}" ] || options+=(--build-arg "TORCH_GPU=$TORCH_GPU")
    fi
    say "building $target with $builder"
    # shellcheck disable=SC2086
    "$builder" build "${options[@]}" ${BUILD_OPTIONS:-} --target "$target" \
        --tag "$registry/glioflow-$target:$version" .
done
