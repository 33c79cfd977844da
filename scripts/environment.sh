#!/usr/bin/env bash
# Makes one of the two environments: `run` (what the product needs) or `dev` (that and the guards).
# With uv from uv.lock; without, by python3 -m venv and pip from requirements/*.txt, where every file has its hash.
#   scripts/environment.sh run|dev FOLDER
set -euo pipefail

kind=$1
folder=$2
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'environment: %s\n' "$*" >&2; }

# The newest interpreter that is new enough; `python3` of an older system may be 3.9 beside a python3.12.
newest_python() {
  local name
  for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  say "Python 3.11 or later is needed; $(python3 --version 2>&1 || echo 'there is no python3') was found."
  say "Install python3.11 (or later) with its venv module, or uv, which brings its own."
  return 1
}

with_uv() {
  local group=()
  [[ $kind == dev ]] || group=(--no-dev)
  say "$folder from uv.lock"
  # The folder is named here: a VIRTUAL_ENV of the caller's shell is another project's.
  env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT="$folder" uv sync --frozen --quiet "${group[@]}"
}

with_pip() {
  local interpreter
  interpreter=$(newest_python)
  say "$folder from requirements/$kind.txt with $("$interpreter" --version)"
  if [[ ! -x $folder/bin/python ]] || ! "$folder/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    rm -rf "$folder"
    "$interpreter" -m venv "$folder" || {
      say "the venv module is missing (on Debian: apt-get install python3-venv)"
      return 1
    }
  fi
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    -r "requirements/$kind.txt"
  # The builder is in the list above with its hash, so nothing is fetched that is not pinned.
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
}

case $kind in run | dev) ;; *)
  say "usage: scripts/environment.sh run|dev FOLDER"
  exit 2
  ;;
esac
if command -v uv >/dev/null && [[ ${CUSTOMHOUSE_NO_UV:-} == "" ]]; then with_uv; else with_pip; fi
touch "$folder/.ready"
