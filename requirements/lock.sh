#!/usr/bin/env bash
# Write the locked, hash-checked requirement files anew. usage: requirements/lock.sh UV
set -euo pipefail
uv=$1
cd "$(dirname "$0")/.."
compile() { # output extras…
  local out=$1
  shift
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "make lock" --python-version 3.11 "$@" --output-file "requirements/$out" pyproject.toml
}
compile runtime.txt
compile grown.txt --extra grown --extra models
compile dev.txt --extra grown --extra dev
