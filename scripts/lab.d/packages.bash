# Messages, and installation of Debian packages: for all scripts.
# shellcheck shell=bash
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" # an ordinary user's PATH has no sbin

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

fail() { # STATUS MESSAGE...
  local status=$1
  shift
  say "$@"
  exit "$status"
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o APT::Sandbox::User=root \
    "$@" </dev/null >&2
}

need_tools() { # PROGRAM=PACKAGE...
  local tool missing=()
  for tool in "$@"; do
    command -v "${tool%=*}" >/dev/null || missing+=("${tool#*=}")
  done
  ((${#missing[@]} > 0)) || return 0
  command -v apt-get >/dev/null || fail 69 "programs are missing. Install the programs of these Debian packages: ${missing[*]}"
  ((EUID == 0)) || fail 77 "packages are missing. Run: sudo apt-get install --no-install-recommends ${missing[*]}"
  say "installing ${missing[*]}"
  apt install --no-install-recommends "${missing[@]}" 2>/dev/null ||
    { apt update && apt install --no-install-recommends "${missing[@]}"; } ||
    fail 69 "apt-get could not install ${missing[*]}: see above. Fix the cause, or install them yourself."
}

download() { # PACKAGE...
  apt download "$@" 2>/dev/null || { ((EUID == 0)) && apt update && apt download "$@"; }
}
