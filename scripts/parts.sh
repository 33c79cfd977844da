#!/usr/bin/env bash
# Installs the real parts that tests run against: opa (built from source), gpg, ssh-keygen, chromium.
# Idempotent; what it builds is kept outside the tree, so a second run and a second clone are quick.
#   scripts/parts.sh            install what is missing
#   scripts/parts.sh --list     say what is there, install nothing
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
parts=${CUSTOMHOUSE_PARTS:-${XDG_CACHE_HOME:-$HOME/.cache}/customhouse/parts}
missing=0

say() { printf 'parts: %s\n' "$*" >&2; }

# Debian's package of a program, only when the program is missing. Without root or apt it says what to install.
debian() { # program package...
  local program=$1 log
  shift
  if command -v "$program" >/dev/null; then
    say "$program: $(command -v "$program")"
  elif [[ $list == yes ]]; then
    say "$program: missing (Debian package $1)"
    missing=1
  elif [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    say "$program: missing, and this is not root on Debian; install the package '$1' of your system"
    missing=1
  else
    say "$program: installing Debian's $1"
    log=$(mktemp)
    if ! {
      { [[ $updated == yes ]] || apt-get update -qq; } &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    } >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      say "$program: apt-get failed, see above"
      missing=1
    fi
    updated=yes
    rm -f "$log"
  fi
}

# OPA: the version and its checksums are in scripts/opa/go.{mod,sum}; a change of either builds it again.
opa() {
  local stamp wanted work
  stamp=$parts/opa.stamp
  wanted=$(cat "$here/opa/go.mod" "$here/opa/go.sum" | sha256sum | cut -d' ' -f1)
  if [[ -x $parts/bin/opa && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    say "opa: $parts/bin/opa"
  elif [[ $list == yes ]]; then
    say "opa: missing or of another version"
    missing=1
  elif ! command -v go >/dev/null; then
    say "opa: missing, and there is no 'go' to build it with (go.dev, $(grep '^go ' "$here/opa/go.mod") or later)"
    missing=1
  else
    say "opa: building (one to three minutes the first time)"
    mkdir -p "$parts/bin"
    work=$(mktemp -d "$parts/opa.XXXXXX")
    (cd "$here/opa" && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags '-s -w' -o "$work/opa" \
      github.com/open-policy-agent/opa) >&2
    # Renamed into place, so that a killed build leaves no half program.
    mv "$work/opa" "$parts/bin/opa"
    rmdir "$work"
    printf '%s' "$wanted" >"$stamp"
    say "opa: $parts/bin/opa"
  fi
}

list=no
updated=no
case ${1:-} in
  --list) list=yes ;;
  "") ;;
  *)
    say "usage: scripts/parts.sh [--list]"
    exit 2
    ;;
esac

debian git git
debian gpg gnupg
debian ssh-keygen openssh-client
debian chromium chromium fonts-dejavu-core
opa
exit "$missing"
