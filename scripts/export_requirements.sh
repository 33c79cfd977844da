#!/usr/bin/env bash
# Writes requirements/{run,dev}.txt from uv.lock, for machines without uv. Every file of every package has its hash.
#   scripts/export_requirements.sh [FOLDER]     (default: requirements)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-requirements}
mkdir -p "$folder"
for kind in run dev; do
  groups=(--no-dev)
  [[ $kind == run ]] || groups=(--group dev)
  {
    echo "# Made from uv.lock by scripts/export_requirements.sh (make lock); do not edit."
    uv export --quiet --frozen --no-emit-project --no-header --no-annotate "${groups[@]}" --group build
  } >"$folder/$kind.txt"
done
