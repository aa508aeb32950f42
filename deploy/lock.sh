#!/usr/bin/env bash
# Resolves every lock from pyproject.toml: one resolution (dev) that all others are cut from, so versions never differ.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .venv/bin/uv)
compile() { "$uv" pip compile pyproject.toml --generate-hashes --python-version 3.11 --no-annotate --no-header -q "$@"; }
compile --extra dev -o requirements-dev.lock
compile --extra demo -c requirements-dev.lock -o requirements.lock
for target in api workers console; do
  # Whoever runs the API's image can have traces without building another one.
  extras=(--extra "$target" --extra postgres)
  [ "$target" != api ] || extras+=(--extra otel)
  compile "${extras[@]}" -c requirements-dev.lock -o "deploy/locks/$target.lock"
done
