#!/usr/bin/env bash
# The guards. All of them run, each says how long it took; the exit status is 1 if any failed.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=()

guard() { # name command...
  local name=$1 started=$SECONDS output
  shift
  if output=$("$@" 2>&1); then
    printf '  ok     %-22s %2d s\n' "$name" $((SECONDS - started))
  else
    printf '  FAILED %-22s %2d s: %s\n%s\n' "$name" $((SECONDS - started)) "$*" "$output"
    failed+=("$name")
  fi
}

guard format ruff format --check .
guard lint ruff check .
guard types mypy
guard directions lint-imports --no-logo
guard dependencies deptry .
guard spelling typos
if ((${#failed[@]})); then
  printf 'check: failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
printf 'check: all guards passed in %d s\n' "$SECONDS"
