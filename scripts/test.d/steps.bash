# The steps of scripts/test: one in the foreground, others beside it, and how long each takes.
# shellcheck shell=bash
: "${logs:?is set by scripts/test}"

current='' foreground='' # the step in the foreground, and its process group
beside=() groups=()       # the steps beside it, and their process groups

# shellcheck disable=SC2317 # runs from the trap
end_steps() {
  local status=$? group
  trap - EXIT
  for group in $foreground "${groups[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
  wait
  if ((status != 0)) && [[ -n $current ]]; then say "failed: $current"; fi
  exit "$status"
}
trap end_steps EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

heading() { printf '\n==> %s (%d s)\n' "$*" "$SECONDS"; }

# Each step is a job that this shell waits for: bash runs a trap during a wait, but not while a foreground command runs.
step() { # NAME COMMAND [ARG]...
  current=$1
  heading "$1"
  start_group timed "$@"
  foreground=$group
  wait "$foreground"
  current='' foreground=''
}

# Starts COMMAND beside the steps that follow, until join. Its output is shown by join.
start_beside() { # NAME COMMAND [ARG]...
  start_group timed "$@" >"$(log_beside "$1")" 2>&1
  beside+=("$1")
  groups+=("$group")
}

# Starts COMMAND in a process group of its own, which can be ended with all that is in it. Sets group.
start_group() { # COMMAND [ARG]...
  set -m
  "$@" &
  group=$!
  set +m
}

log_beside() { echo "$logs/beside-${1//[^a-zA-Z0-9]/-}.log"; } # NAME

join() {
  local i failed=()
  for i in "${!beside[@]}"; do
    wait "${groups[i]}" || failed+=("${beside[i]}")
    heading "${beside[i]}"
    cat "$(log_beside "${beside[i]}")"
  done
  beside=() groups=()
  ((${#failed[@]} == 0)) || fail 1 "failed: ${failed[*]}"
}

# In the scheduling class that gets a processor only when nothing else wants it.
when_idle() { # COMMAND [ARG]...
  chrt --idle --pid 0 "$BASHPID"
  "$@"
}

# Runs COMMAND with each line of stdin as its last argument, two at a time. Fails if one of them failed.
two_at_a_time() ( # COMMAND [ARG]...
  running=0 status=0
  while IFS= read -r line; do
    if ((running == 2)); then
      wait -n || status=1
      running=$((running - 1))
    fi
    "$@" "$line" &
    running=$((running + 1))
  done
  for ((; running > 0; running--)); do wait -n || status=1; done
  exit "$status"
)

timed() { # NAME COMMAND [ARG]...
  local start=${EPOCHREALTIME/[.,]/} # in microseconds
  "${@:2}"
  took "$(((${EPOCHREALTIME/[.,]/} - start) / 1000))" "$1"
}

took() { # MILLISECONDS NAME
  printf '%d.%03d %s\n' "$(($1 / 1000))" "$(($1 % 1000))" "$2" >>"$logs/times"
}

print_slowest() {
  heading "the ten slowest steps, in seconds"
  grep -v ' lab: ' "$logs/times" | sort -rn | head -n 10 | awk '{ printf "%8.1f ", $1; $1 = ""; print }'
}
