# What a command in the lab needs to know, written as files: for scripts/lab and scripts/lab.d/in-batch.
# shellcheck shell=bash

# Each item of a list ends with a zero byte, so any other byte may be in it.
write_command() { # FOLDER CMD ARG...
  local folder=$1 name
  shift
  printf '%s\0' "$@" >"$folder/argv"
  printf '%s' "$PWD" >"$folder/cwd"
  for name in $(compgen -e); do
    case $name in
      LB_* | LAB_* | GO* | TERM | PATH | HOME | COLUMNS | LINES) printf '%s=%s\0' "$name" "${!name}" ;;
    esac
  done >"$folder/env"
}
