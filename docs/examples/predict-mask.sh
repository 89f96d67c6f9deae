#!/bin/sh
# The tumour's mask, with curl alone: images and mask as bytes (HTTP v2's binary extension).
# Usage: predict-mask.sh HOST:8000 T1C T2 FLAIR AGE MASK.nii.gz
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

size() { wc -c < "$1" | tr -d ' '; }

element() { # FILE: its length in four bytes, least significant first, and its content
    n=$(size "$1")
    for shift in 0 8 16 24; do
        # shellcheck disable=SC2059
        printf "\\$(printf '%03o' $((n >> shift & 255)))"
    done
    cat "$1"
}

image() { # NAME FILE
    printf '{"name": "%s", "datatype": "BYTES", "shape": [1],' "$1"
    printf '"parameters": {"binary_data_size": %d}},' $(($(size "$2") + 4))
}

{
    printf '{"inputs": ['
    image t1c "$2"
    image t2 "$3"
    image flair "$4"
    printf '{"name": "age", "datatype": "FP32", "shape": [1], "data": [%s]}],' "$5"
    printf '"outputs": [{"name": "mask_nifti", "parameters": {"binary_data": true}}]}'
} > "$folder/head"
{
    cat "$folder/head"
    for file in "$2" "$3" "$4"; do element "$file"; done
} > "$folder/body"

curl --silent --show-error --fail-with-body --data-binary "@$folder/body" \
    --header "Inference-Header-Content-Length: $(size "$folder/head")" \
    --header "Content-Type: application/octet-stream" \
    --dump-header "$folder/headers" --output "$folder/answer" \
    "http://$1/v2/models/glioma_idh_images/infer" || { cat "$folder/answer" >&2; exit 22; }

# After the JSON head: the length in four bytes, and the file.
head=$(tr -d '\r' < "$folder/headers" | sed -n 's/^inference-header-content-length: //Ip')
tail -c "+$((head + 5))" "$folder/answer" > "$6"
