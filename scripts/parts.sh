#!/usr/bin/env bash
# Installs the real parts that tests run against: from Debian gpg, ssh-keygen, openssl, chromium, docker-registry, wrk, postgresql, prometheus, redis; built from Go's module proxy opa,
# conftest, gator, kustomize, helm, cosign, notation, versitygw, jsonnet, gitea, a Kubernetes control plane (kube-apiserver, etcd, kwok …), and the controllers of Argo Rollouts, KServe, Flux and Argo CD.
# Idempotent; what it builds is kept outside the tree, so a second run and a second clone are quick.
# From PyPI, into environments of their own: model_signing, mlflow and moto (pip).
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

# Debian keeps PostgreSQL's server programs off PATH, a folder a version; the newest is linked where tests look.
postgres_server() {
  local folder program
  if ! command -v initdb >/dev/null && [[ -z $(compgen -G '/usr/lib/postgresql/*/bin/initdb') ]]; then
    debian initdb postgresql
  fi
  folder=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1 || true)
  if [[ -n $folder ]]; then
    mkdir -p "$parts/bin"
    for program in initdb pg_ctl postgres; do ln -sfn "$folder/$program" "$parts/bin/$program"; done
    say "postgres: $folder"
  elif command -v initdb >/dev/null; then
    say "postgres: $(command -v initdb)"
  else
    missing=1
  fi
}

# A Go program: its version and checksums are in scripts/parts.d/FOLDER/go.{mod,sum}; a change of either builds it again.
go_program() { # name package folder [ldflags] [tags, which here also mean: with a C compiler]
  local name=$1 package=$2 folder=$here/parts.d/$3 flags=${4:-} tags=${5:-} stamp wanted work
  stamp=$parts/$name.stamp
  wanted=$(cat "$folder/go.mod" "$folder/go.sum" | sha256sum | cut -d' ' -f1)
  if [[ -x $parts/bin/$name && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    say "$name: $parts/bin/$name"
  elif [[ $list == yes ]]; then
    say "$name: missing or of another version"
    missing=1
  elif ! command -v go >/dev/null; then
    say "$name: missing, and there is no 'go' to build it with (go.dev, $(grep '^go ' "$folder/go.mod") or later)"
    missing=1
  else
    say "$name: building (the first time some minutes)"
    mkdir -p "$parts/bin"
    work=$(mktemp -d "$parts/$name.XXXXXX")
    if (cd "$folder" && CGO_ENABLED=$([[ $tags ]] && echo 1 || echo 0) go build -mod=readonly -trimpath -tags "$tags" \
      -ldflags "-s -w $flags" -o "$work/$name" "$package") >&2; then
      # Renamed into place, so that a killed build leaves no half program.
      mv "$work/$name" "$parts/bin/$name"
      printf '%s' "$wanted" >"$stamp"
      say "$name: $parts/bin/$name"
    else
      say "$name: the build failed, see above"
      missing=1
    fi
    rm -rf "$work"
  fi
}

# Built last, for one test each: a machine that has taken 25 minutes by then leaves them out and says so, and those tests
# are skipped. Some three minutes each on two idle cores.
late_program() { # as go_program
  if [[ $list != yes && ! -x $parts/bin/$1 && $SECONDS -gt 1500 ]]; then
    say "$1: left out, since the parts before it took $((SECONDS / 60)) minutes; run this again to build it"
    mkdir -p "$parts/left-out"
    touch "$parts/left-out/$1"
  else
    rm -f "$parts/left-out/$1"
    go_program "$@"
  fi
}

# A Python program in an environment of its own: what it needs, with hashes, is in scripts/parts.d/FOLDER/requirements.txt.
python_program() { # name folder
  local name=$1 folder=$here/parts.d/$2 stamp=$parts/$1.stamp wanted
  wanted=$(sha256sum <"$folder/requirements.txt" | cut -d' ' -f1)
  if [[ -x $parts/bin/$name && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    say "$name: $parts/bin/$name"
  elif [[ $list == yes ]] || ! command -v python3 >/dev/null; then
    say "$name: missing or of another version (pip installs it into an environment of its own)"
    missing=1
  else
    say "$name: installing"
    rm -rf "$parts/$name"
    mkdir -p "$parts/bin"
    if python3 -m venv "$parts/$name" >&2 &&
      "$parts/$name/bin/pip" install -q --disable-pip-version-check --require-hashes -r "$folder/requirements.txt" >&2; then
      ln -sfn "$parts/$name/bin/$name" "$parts/bin/$name"
      printf '%s' "$wanted" >"$stamp"
      say "$name: $parts/bin/$name"
    else
      say "$name: pip failed, see above"
      missing=1
    fi
  fi
}

# The folder of a Go module in the module cache, verified by the go.sum of FOLDER.
module_folder() { # folder module
  (cd "$here/parts.d/$1" && go mod download -json "$2") | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p'
}

# What Gitea reads at run time beside its program: templates and options of its own module.
gitea_files() {
  local stamp=$parts/gitea-files.stamp wanted folder
  wanted=$(sha256sum <"$here/parts.d/gitea/go.sum" | cut -d' ' -f1)
  if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    say "gitea files: $parts/gitea"
  elif [[ $list == yes ]] || ! command -v go >/dev/null; then
    say "gitea files: missing or of another version (fetched by 'go mod download')"
    missing=1
  else
    folder=$(module_folder gitea code.gitea.io/gitea)
    rm -rf "$parts/gitea"
    mkdir -p "$parts/gitea"
    cp -r "$folder/options" "$folder/templates" "$folder/public" "$parts/gitea/"
    chmod -R u+w "$parts/gitea"
    printf '%s' "$wanted" >"$stamp"
    say "gitea files: $parts/gitea"
  fi
}

# Files of Go modules that are data to the tests: KWOK's stages and the CRDs of the ecosystem.
data_files() {
  local stamp=$parts/kubernetes-files.stamp wanted work name module path file folder
  wanted=$(cat "$here"/parts.d/crds/* "$here"/parts.d/kwok/go.* | sha256sum | cut -d' ' -f1)
  if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    say "kubernetes files: $parts/kubernetes"
    return
  elif [[ $list == yes ]] || ! command -v go >/dev/null; then
    say "kubernetes files: missing or of another version (fetched by 'go mod download')"
    missing=1
    return
  fi
  say "kubernetes files: fetching modules"
  mkdir -p "$parts"
  work=$(mktemp -d "$parts/files.XXXXXX")
  folder=$(module_folder kwok sigs.k8s.io/kwok)
  for file in "$folder"/kustomize/stage/pod/fast/pod-*.yaml "$folder"/kustomize/stage/node/fast/node-*.yaml; do
    echo ---
    cat "$file"
  done >"$work/stages.yaml"
  while read -r name module path; do
    folder=$(module_folder crds "$module")
    mkdir -p "$work/crds/$name"
    for file in "$folder/$path"/*.yaml; do
      if grep -q '^kind: CustomResourceDefinition' "$file"; then install -m 644 "$file" "$work/crds/$name/"; fi
    done
    [[ -n $(ls "$work/crds/$name") ]] || { say "no CRD in $module $path"; missing=1; }
  done < <(grep -v '^#' "$here/parts.d/crds/list")
  rm -rf "$parts/kubernetes"
  mv "$work" "$parts/kubernetes"
  printf '%s' "$wanted" >"$stamp"
  say "kubernetes files: $parts/kubernetes"
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
debian openssl openssl
debian chromium chromium fonts-dejavu-core
debian docker-registry docker-registry
debian wrk wrk
debian prometheus prometheus
debian redis-server redis-server
postgres_server
go_program opa github.com/open-policy-agent/opa opa
go_program conftest github.com/open-policy-agent/conftest conftest
go_program gator github.com/open-policy-agent/gatekeeper/v3/cmd/gator gator
go_program kustomize sigs.k8s.io/kustomize/kustomize/v5 kustomize
go_program helm helm.sh/helm/v3/cmd/helm helm
go_program cosign github.com/sigstore/cosign/v3/cmd/cosign cosign
go_program notation github.com/notaryproject/notation/cmd/notation notation
go_program versitygw github.com/versity/versitygw/cmd/versitygw versitygw
python_program model_signing model_signing
python_program mlflow mlflow
python_program moto_server moto
go_program jsonnet github.com/google/go-jsonnet/cmd/jsonnet jsonnet
# The API server tells its version to whoever asks; without the flags it would call itself v0.0.0.
version=v1.36.3
flags="-X k8s.io/component-base/version.gitVersion=$version"
flags+=" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
for program in kube-apiserver kube-controller-manager kube-scheduler; do
  go_program "$program" "k8s.io/kubernetes/cmd/$program" kubernetes "$flags"
done
go_program etcd go.etcd.io/etcd/server/v3 etcd
go_program kwok sigs.k8s.io/kwok/cmd/kwok kwok
data_files
go_program gitea code.gitea.io/gitea gitea "" "sqlite sqlite_unlock_notify"
gitea_files
late_program rollouts-controller github.com/argoproj/argo-rollouts/cmd/rollouts-controller rollouts-controller
late_program kserve-manager github.com/kserve/kserve/cmd/manager kserve-manager
late_program kueue sigs.k8s.io/kueue/cmd/kueue kueue
late_program kustomize-controller github.com/fluxcd/kustomize-controller kustomize-controller
late_program source-controller github.com/fluxcd/source-controller source-controller
late_program argocd . argocd
exit "$missing"
