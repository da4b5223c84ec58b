#!/usr/bin/env bash
# `make test`: everything, in the order in which a mistake shows soonest. A table says what each part took, and the last
# line counts.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
log=target/test.log
mkdir -p target

parts=() seconds=() counts=() current='' began=$SECONDS passed=0 lints=''

# Runs one part of the suite. It leaves in `counted` how many tests passed, if it has any.
part() { # NAME WHAT-IT-IS COMMAND...
  local name=$1 what=$2 start=$SECONDS
  shift 2
  current=$name counted=''
  printf '\n== %s: %s\n' "$name" "$what"
  "$@"
  parts+=("$name") seconds+=($((SECONDS - start))) counts+=("$counted")
  passed=$((passed + ${counted:-0}))
  current=''
}

table() {
  printf '\n%-14s %9s %9s\n' part seconds passed
  for index in "${!parts[@]}"; do
    printf '%-14s %9s %9s\n' "${parts[index]}" "${seconds[index]}" "${counts[index]}"
  done
  printf '%-14s %9s %9s\n' all "$((SECONDS - began))" "$passed"
}

finish() {
  local status=$?
  [ -z "$lints" ] || kill -- -"$lints" 2>/dev/null || true
  [ -z "$current" ] || printf '\n%s failed with status %s; the parts before it:\n' "$current" "$status"
  table
  # The last line has to count, and a run that failed has no count of all.
  if [ "$status" = 0 ]; then printf '\n%s passed, 0 failed\n' "$passed"; fi
}
trap finish EXIT

# Runs tests, and adds up what the runner's summaries count.
count() { # COMMAND...
  "$@" 2>&1 | tee "$log"
  counted=$({ grep -oE '[0-9]+ passed' "$log" || true; } | awk '{ sum += $1 } END { print sum + 0 }')
  [ "$counted" -gt 0 ] || { echo "no test ran: $*" >&2; return 1; }
}

# Always the whole workspace: a part of it would have other features, and build its dependencies again.
build() {
  cargo build --workspace --bins --examples
  cargo nextest run --workspace --no-run
}

nextest() { # FILTER
  count cargo nextest run --workspace --no-fail-fast -E "$1"
}

# The page's scripts on a DOM. Node's summary counts, in its own words.
scripts() {
  npm --prefix gateway/src/client test --silent 2>&1 | tee "$log"
  counted=$(awk '$1 == "ℹ" && $2 == "pass" { sum += $3 } END { print sum + 0 }' "$log")
  [ "$counted" -gt 0 ] || { echo "no test of the scripts ran" >&2; return 1; }
}

# The lints compile everything once more, in the time that the end-to-end tests leave: those wait more than they compute.
# Idle scheduling lets any other process of the same session go first, and the lowest priority of the session any other
# session. They have a folder of their own, since cargo locks its folder.
begin_lints() {
  # A session of its own, to end it with this script.
  CARGO_TARGET_DIR=target/lints setsid bash -c '
    { echo 19 >/proc/self/autogroup; } 2>/dev/null || true
    exec chrt --idle 0 tests/lint.sh clippy docs' >target/lints.log 2>&1 &
  lints=$!
}

end_lints() {
  local status=0
  wait "$lints" || status=$?
  lints=''
  [ "$status" = 0 ] || { cat target/lints.log >&2; return "$status"; }
}

autobahn() {
  tests/conformance.sh
  counted=$(python3 -c '
import json
cases = json.load(open("target/autobahn/index.json"))["server"].values()
print(sum(case["behavior"] in ("OK", "NON-STRICT", "INFORMATIONAL") for case in cases))')
}

end_to_end() {
  ulimit -n "$(ulimit -Hn)"
  nextest 'package(diffyne-tests) - binary(structure)'
}

part tools "what the tests need of this machine" tests/tools.sh
part files "shell, PHP, the page's scripts, nginx, supervisor, containers, dependencies, format" tests/lint.sh shell php js nginx supervisor deploy dependencies format
part scripts "the page's scripts on a DOM" scripts
part build "the programs and the tests, from the sources" build
part structure "circles of files, and ARCHITECTURE.md's invariants" nextest 'binary(structure)'
part unit "what needs no process" nextest 'not package(diffyne-tests)'
part doctests "the examples in the documentation" count cargo test --doc --workspace --quiet
begin_lints
part autobahn "the WebSocket conformance suite" autobahn
part end-to-end "real gateways, workers, Redis, nginx, PHP and a browser" end_to_end
part lints "the rest of clippy and cargo doc, which have run beside the last two" end_lints
