#!/usr/bin/env bash
# ONNX Runtime Web for the page that certifies in the browser, from npm, checked, into space/static/ort.
set -euo pipefail
cd "$(dirname "$0")/static"
version=1.30.0
sum=d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71
archive=onnxruntime-web-$version.tgz
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(cd "$scratch" && npm pack --silent "onnxruntime-web@$version" >/dev/null && echo "$sum  $archive" | sha256sum --check --quiet)
mkdir -p ort
tar -xzf "$scratch/$archive" -C ort --strip-components 2 \
    package/dist/ort.wasm.min.mjs package/dist/ort-wasm-simd-threaded.mjs package/dist/ort-wasm-simd-threaded.wasm
