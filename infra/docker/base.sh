#!/usr/bin/env bash
# Make a base image from Debian's packages alone, where no registry of images can be reached.
#   infra/docker/base.sh [NAME]        default localhost/glioflow-base:bookworm
# Needs root, buildah and debootstrap. MIRROR names another Debian mirror, or a dated snapshot.
set -euo pipefail
name=${1:-localhost/glioflow-base:bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}

for tool in buildah debootstrap; do
    command -v "$tool" >/dev/null || { echo "base.sh: $tool is missing: apt-get install buildah debootstrap" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "base.sh: debootstrap needs root" >&2; exit 2; }

work=$(mktemp -d)
container=""
trap '[ -z "$container" ] || buildah rm "$container" >/dev/null; rm -rf "$work"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,libpython3.11,ca-certificates bookworm "$work/root" "$mirror" >&2

# Nothing of this machine, no documentation, no package lists.
rm -rf "$work"/root/{var/cache/apt/archives/*.deb,var/lib/apt/lists/*,var/log/*,usr/share/{doc,man,info,locale}/*}
: >"$work/root/etc/resolv.conf"
: >"$work/root/etc/hostname"
tar -C "$work/root" --numeric-owner --sort=name --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' \
    -cf "$work/root.tar" .
rm -rf "$work/root"

container=$(buildah from scratch)
buildah add -q "$container" "$work/root.tar" / >/dev/null
buildah config --label org.opencontainers.image.title=glioflow-base \
    --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd bash "$container"
buildah commit -q --format docker "$container" "$name" >/dev/null
echo "$name"
