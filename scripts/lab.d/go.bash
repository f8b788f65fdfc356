# A Go that can build lb: for scripts/test, scripts/demo and scripts/bench.
# shellcheck shell=bash

# Puts the Go version of go.mod, or a later one, into PATH. An installed Go that is new enough, or that can switch to a
# new one by itself, is used as it is.
need_go() {
  local wanted root lock
  wanted=$(sed -nE 's/^(toolchain go|go )([0-9].*)/\2/p' go.mod | sort -V | tail -n 1)
  if go_is_at_least "$wanted"; then return; fi
  root=${XDG_CACHE_HOME:-$HOME/.cache}/lb-lab/go$wanted
  if [[ ! -e $root ]]; then
    command -v go >/dev/null || { ((EUID == 0)) && command -v apt-get >/dev/null; } ||
      fail 69 "Go is missing. Install Go $wanted or later (https://go.dev/dl/) and put it into PATH."
    mkdir -p -- "${root%/*}"
    exec {lock}>"${root%/*}/lock-go" # one download at a time
    flock "$lock"
    if [[ ! -e $root ]]; then fetch_go "$wanted" "$root"; fi
    exec {lock}>&-
  fi
  export PATH="$root/bin:$PATH"
}

# Go from 1.21 on switches to the version that go.mod names before it answers.
go_is_at_least() { # VERSION
  local version
  version=$(go env GOVERSION 2>/dev/null) || return 1
  version=$(sed -nE 's/.*go([0-9]+(\.[0-9]+)*).*/\1/p' <<<"$version")
  [[ -n $version ]] && printf '%s\n' "$1" "$version" | sort -VC
}

# Debian's Go 1.19 cannot switch to another version, but it can download one as the module golang.org/toolchain, which is
# checked like any other module.
fetch_go() { # VERSION ROOT
  local work module dir with=''
  command -v go >/dev/null || with=", with Debian's golang-go (81 MB)"
  say "downloading Go $1 as the module golang.org/toolchain (72 MB)$with, once"
  need_tools go=golang-go update-ca-certificates=ca-certificates
  rm -rf -- "${2%/*}"/fetch-go.* # of a run that was killed
  work=$(mktemp -d "${2%/*}/fetch-go.XXXXXX")
  module=golang.org/toolchain@v0.0.1-go$1.linux-$(go env GOHOSTARCH)
  # In a folder of its own: Go 1.19 cannot read this project's go.mod.
  (cd "$work" && GO111MODULE=on go mod download -json "$module") >"$work/module.json" || true
  dir=$(sed -nE 's/^\s*"Dir": "(.*)",?$/\1/p' "$work/module.json")
  [[ -n $dir ]] || fail 69 "could not download $module. Install Go $1 or later (https://go.dev/dl/) and put it into PATH." \
    "The download said: $(<"$work/module.json")"
  cp -R -- "$dir" "$work/go"
  # In a module no file is executable, and no go.mod but its own has its name.
  chmod -R u+w "$work/go"
  chmod +x "$work"/go/bin/* "$work"/go/pkg/tool/*/*
  find "$work/go/src" -name _go.mod -execdir mv {} go.mod \;
  "$work/go/bin/go" version >&2 || fail 69 "$module does not run on this machine: see above."
  mv -T -- "$work/go" "$2"
  rm -rf -- "$work"
}
