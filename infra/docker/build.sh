#!/usr/bin/env bash
# Build the images `cpu`, `gpu` and `triton` with whichever builder is at hand.
#   BUILDER=docker|podman|buildah   REGISTRY=ghcr.io/glioflow   BASE_IMAGE=...   PIP_OPTIONS=...
#   infra/docker/build.sh [cpu] [gpu] [triton]
set -euo pipefail
cd "$(dirname "$0")/../.."

registry=${REGISTRY:-ghcr.io/glioflow}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(cpu gpu triton)

for candidate in docker podman buildah; do
    builder=${BUILDER:-$(command -v "$candidate" || true)}
    [ -z "$builder" ] || break
done
if [ -z "$builder" ]; then
    echo "build.sh: no container builder; install docker, podman or buildah" >&2
    exit 2
fi

options=(--file infra/docker/Dockerfile --build-arg "COMMIT=$commit" --build-arg "VERSION=$version")
[ -z "${BASE_IMAGE:-}" ] || options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
[ -z "${PIP_OPTIONS:-}" ] || options+=(--build-arg "PIP_OPTIONS=$PIP_OPTIONS")
if [ "$(basename "$builder")" = buildah ]; then
    # Chroot isolation and the vfs driver ask nothing of the kernel that a plain machine refuses.
    options+=(--isolation "${ISOLATION:-chroot}" --format docker --layers)
fi

for target in "${targets[@]}"; do
    "$builder" build "${options[@]}" ${BUILD_OPTIONS:-} --target "$target" \
        --tag "$registry/glioflow-$target:$version" .
done
