#!/usr/bin/env bash
# Takes NiiVue, which the page of an answer carries, out of its published package, byte for byte.
# To change the version: VERSION and INTEGRITY here (`npm view @niivue/niivue@VERSION dist.integrity`),
# NIIVUE and NIIVUE_SHA256 in serving/report/viewer/bundle.py, and the licences beside the bundle.
set -euo pipefail
VERSION=0.69.0
INTEGRITY=sha512-YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA==
target="$(cd "$(dirname "$0")/.." && pwd)/serving/report/viewer"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
archive="$scratch/$(cd "$scratch" && npm pack --silent "@niivue/niivue@$VERSION")"
found="sha512-$(openssl dgst -sha512 -binary "$archive" | base64 -w0)"
if [[ "$found" != "$INTEGRITY" ]]; then
    echo "niivue $VERSION: $found is not $INTEGRITY; nothing was changed" >&2
    exit 1
fi
tar -xzOf "$archive" package/dist/niivue.umd.js > "$scratch/niivue.js"
mv "$scratch/niivue.js" "$target/niivue-$VERSION.umd.js"
sha256sum "$target/niivue-$VERSION.umd.js"
