#!/usr/bin/env bash
# `make test`: everything, in the order in which a mistake shows soonest. A table says what each part took, and the last
# line counts.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
# Clippy and the documentation's lints look at everything while it is compiled. Warnings are errors.
export RUSTC_WORKSPACE_WRAPPER=$PWD/tests/rustc.sh CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__
log=target/test.log
mkdir -p target

parts=() seconds=() counts=() current='' began=$SECONDS passed=0 beside=''

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
  [ -z "$beside" ] || kill -- "-$beside" 2>/dev/null || true
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

# What leaves a core idle begins while another part runs, in a process group of its own. One at a time.
begin() { # NAME COMMAND...
  local name=$1
  shift
  setsid "$@" >"target/$name.log" 2>&1 &
  beside=$!
}

# Waits for it and shows what it said.
end() { # NAME
  local status=0
  wait "$beside" || status=$?
  beside=''
  cat "target/$1.log"
  return "$status"
}

# Node's summary counts, in its own words.
scripts() {
  end scripts
  counted=$(awk '$1 == "ℹ" && $2 == "pass" { sum += $3 } END { print sum + 0 }' target/scripts.log)
  [ "$counted" -gt 0 ] || { echo "no test of the scripts ran" >&2; return 1; }
}

autobahn() {
  end autobahn
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
begin scripts npm --prefix gateway/src/client test --silent
part files "shell, PHP, the page's scripts, nginx, supervisor, containers, dependencies, format" tests/lint.sh shell php js nginx supervisor deploy dependencies format
part scripts "the page's scripts on a DOM, which have begun beside the files" scripts
part build "the programs and the tests, from the sources, with the lints of clippy and rustdoc" build
part structure "circles of files, and ARCHITECTURE.md's invariants" nextest 'binary(structure)'
begin autobahn tests/conformance.sh
part unit "what needs no process" nextest 'not package(diffyne-tests)'
part doctests "the examples in the documentation" count cargo test --doc --workspace --quiet
part autobahn "the WebSocket conformance suite, which has begun beside the unit tests" autobahn
part end-to-end "real gateways, workers, Redis, nginx, PHP and a browser" end_to_end
