# Fuzzing: every fuzzer for $fuzz_time, two at a time with one worker each.
# shellcheck shell=bash
: "${logs:?is set by scripts/test}" "${fuzz_time:?is set by scripts/test}"

run_fuzzers() {
  local module cache
  module=$(sed -n 's/^module //p' go.mod)
  cache=$(go env GOCACHE)/fuzz
  list_fuzzers | two_at_a_time run_fuzzer "$module" "$cache"
}

# One test binary for each package, however many fuzzers it has.
build_fuzzers() {
  mkdir -p "$logs/fuzz"
  list_fuzzers | cut -d ' ' -f 1 | sort -u | two_at_a_time build_fuzz_binary
}

list_fuzzers() { # prints PACKAGE NAME
  local place name
  while IFS=: read -r place name; do
    echo "$(dirname "$place") $name"
  done < <(find . -name '*_test.go' -exec grep -oHE '^func Fuzz[A-Z0-9_]\w*' {} + | sed 's/:func /:/' | sort)
}

fuzz_binary() { # PACKAGE
  echo "$PWD/$logs/fuzz/$(tr / - <<<"${1#./}").test"
}

build_fuzz_binary() { # PACKAGE
  go test -vet=off -c -fuzz=. -o "$(fuzz_binary "$1")" "$1"
}

# With the flags that go test -fuzz would give it.
run_fuzzer() { # MODULE CACHE "PACKAGE NAME"
  local package=${3% *} name=${3#* } binary log output
  binary=$(fuzz_binary "$package")
  log=$PWD/$logs/fuzz-$(tr / - <<<"${package#./}")-$name.log
  if (cd "$package" && "$binary" -test.paniconexit0 -test.timeout=10m -test.run='^$' -test.fuzz="^$name\$" -test.parallel=1 \
    -test.fuzztime="$fuzz_time" -test.fuzzcachedir="$2/$1${package#.}") >"$log" 2>&1 || only_out_of_time "$log"; then
    echo "$package $name: $(sed -nE 's/.*(execs: [0-9]+).*/\1/p' "$log" | tail -n 1), nothing found"
    return
  fi
  output=$(<"$log")
  printf '%s\n' "$output" "$package $name: found something, see above"
  return 1
}

# Before Go 1.27 the end of -fuzztime itself can look like a failure (https://go.dev/issue/75804): no panic and no failing
# input, only the end of a context.
only_out_of_time() { # LOG
  [[ $(sed -n '/^--- FAIL/,$p' "$1" | sed -n 2,3p) == $'    context deadline exceeded\nFAIL' ]]
}
