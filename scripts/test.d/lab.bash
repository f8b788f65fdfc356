# The tests that run in the lab: where each of them runs, and whether all of them did.
# shellcheck shell=bash
: "${logs:?is set by scripts/test}"

# The batch that a test runs in. A batch is one lab: its packages share the time a virtual machine takes to boot. The
# batches first and second run at the same time, so they hold only tests that bear other load. Tests that measure time run
# in timed or failover, with nothing beside them, as do tests that are not listed here.
batch_of() { # FILE
  case $1 in
    ./agent/agentcheck/*) echo timed ;;
    ./agent/* | ./balancer/plan/* | ./netx/ipvs/* | ./netx/lab/*_lab_test.go | ./netx/listen/* | ./netx/mark/*) echo first ;;
    ./netx/program/* | ./netx/tunnel/* | ./netx/vip/* | ./netx/lab/e2e/pacemaker_*) echo first ;;
    ./netx/lab/e2e/doctor_* | ./netx/lab/e2e/drain_* | ./netx/lab/e2e/events_* | ./netx/lab/e2e/foreign_state_*) echo second ;;
    ./netx/lab/e2e/forwarding_* | ./netx/lab/e2e/ocf_* | ./netx/lab/e2e/plan_* | ./netx/lab/e2e/readme_*) echo second ;;
    ./netx/lab/e2e/all_in_one_* | ./netx/lab/e2e/on_failure_* | ./netx/lab/e2e/refusal_* | ./packaging/systemd/*) echo second ;;
    ./netx/lab/failover/*) echo failover ;;
    *) echo timed ;; # netx/lab/e2e/noipvs is the last of them: it unloads ip_vs
  esac
}

run_lab() {
  rm -rf build/lab
  lab_tests >"$logs/lab-tests"
  start_beside "lab: second" run_batch second
  step "lab: first" run_batch first
  join
  step "lab: timed" run_batch timed
  step "lab: failover" run_batch failover
  check_lab "$(wc -l <"$logs/lab-tests")" "$logs"/lab-*.log
}

# The tests in files that are built only for the lab, found by reading and not by asking go: what go leaves out for
# whatever reason is then noticed.
lab_tests() { # prints BATCH PACKAGE TEST
  local file
  while IFS= read -r file; do
    sed -nE "s#^func (Test[A-Z0-9_][A-Za-z0-9_]*)\(\w+ \*testing\.T\).*#$(batch_of "$file") $(dirname "$file") \1#p" "$file"
  done < <(find . -name '*_test.go' -exec grep -lE '^//go:build (.*[^a-z])?lab([^a-z].*)?$' {} + | sort)
}

# Boots a lab and runs the batch's packages in it, in turn.
run_batch() { # NAME
  local out=$PWD/build/lab/$1 lab packages package
  mapfile -t packages < <(awk -v batch="$1" '$1 == batch { print $2 }' "$logs/lab-tests" | sort -u)
  mkdir -p "$out/batch"
  LAB_BATCH=$out/batch LAB_OUT=$out scripts/lab scripts/lab.d/batch >"$logs/lab-$1.machine" 2>&1 &
  lab=$!
  echo "$lab" >"$out/batch/pid"
  for package in "${packages[@]}"; do test_package "$1" "$package" "$out"; done
  : >"$out/batch/end"
  wait "$lab" || true
  cat "$logs/lab-$1.machine"
}

test_package() { # BATCH PACKAGE OUT
  local batch=$1 package=$2 out=$3/${2#./} names log
  log=$logs/lab-$batch-$(tr / - <<<"${package#./}").log
  names=$(awk -v batch="$batch" -v package="$package" '$1 == batch && $2 == package { print $3 }' "$logs/lab-tests" | paste -sd '|')
  mkdir -p "$out"
  LAB_BATCH=$3/batch LB_BIN=$PWD/build/lb LAB_OUT=$out go test -vet=off -tags lab -count=1 -v -timeout 25m -run "^($names)\$" \
    -exec "$PWD/scripts/lab.d/in-batch" "$package" >"$log" 2>&1 ||
    echo "$package $log" >>"$logs/lab-failed"
  cat "$log"
  while read -r test seconds; do
    took "$((10#${seconds/./} * 10))" "lab $package $test"
  done < <(sed -nE 's/^--- [A-Z]+: (\w+) \(([0-9]+\.[0-9]{2})s\)$/\1 \2/p' "$log")
}

check_lab() { # TESTS LOG...
  local tests=$1 ran skipped packages logs_of_failed
  shift
  ran=$(cat "$@" | grep -cE '^--- PASS: ' || true)
  skipped=$(cat "$@" | grep -cE '^ *--- SKIP: ' || true)
  if [[ -e $logs/lab-failed ]]; then
    mapfile -t packages < <(cut -d ' ' -f 1 "$logs/lab-failed")
    mapfile -t logs_of_failed < <(cut -d ' ' -f 2 "$logs/lab-failed")
    reasons "${logs_of_failed[@]}"
  fi
  echo "lab: $ran of $tests tests passed, $skipped skipped"
  [[ ! -e $logs/lab-failed ]] || fail 1 "failed in the lab: ${packages[*]} (logs: $logs, results they kept: build/lab)"
  ((skipped == 0)) || fail 1 "a test was skipped in the lab; that counts as a failure"
  ((ran == tests)) || fail 1 "not every test that is written for the lab ran there"
}

# The last lines that each failed test printed, from the output of go test -v.
reasons() { # LOG...
  awk '
    /^=== / { name = $3; next }
    $1 != "---" { said[name, n[name]++] = $0; next }
    $2 == "FAIL:" {
      for (i = n[$3] > 40 ? n[$3] - 40 : 0; i < n[$3]; i++) print said[$3, i]
      print
    }' "$@"
}
