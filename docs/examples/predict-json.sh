#!/bin/sh
# The answer as JSON, with curl alone: images as base64 in a JSON body.
# Usage: predict-json.sh HOST:8000 T1C T2 FLAIR AGE > prediction.json
set -eu
body=$(mktemp)
trap 'rm -f "$body"' EXIT

image() { # NAME FILE
    printf '{"name": "%s", "datatype": "BYTES", "shape": [1], "data": ["' "$1"
    base64 "$2" | tr -d '\n'
    printf '"]},'
}

{
    printf '{"inputs": ['
    image t1c "$2"
    image t2 "$3"
    image flair "$4"
    printf '{"name": "age", "datatype": "FP32", "shape": [1], "data": [%s]}],' "$5"
    printf '"outputs": [{"name": "result"}]}'
} > "$body"

# The answer is JSON whose one output is a string of JSON: prediction.json.
# Without a content type curl says that this is a form, and Triton ends over forms of some MiB.
curl --silent --show-error --fail-with-body --data-binary "@$body" \
    --header "Content-Type: application/json" \
    "http://$1/v2/models/glioma_idh_images/infer"
