#!/usr/bin/env bash
# `make test`: everything, in the order in which a mistake shows soonest. The last line counts.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
passed=0
log=target/test.log
mkdir -p target

step() { echo; echo "== $*"; }
# Adds what a runner's summary counts, and fails with the runner.
count() { # PATTERN COMMAND...
  local pattern=$1 n
  shift
  "$@" 2>&1 | tee "$log"
  n=$(grep -oE "$pattern" "$log" | grep -oE '[0-9]+' | paste -sd+ - | bc)
  [ "${n:-0}" -gt 0 ] || { echo "no test ran: $*" >&2; exit 1; }
  passed=$((passed + n))
}

step "format and lints"
cargo fmt --all -- --check
cargo clippy --workspace --all-targets --quiet -- -D warnings

step "unit tests"
# Always the whole workspace: a part of it would have other features, and build its dependencies again.
cargo build --workspace --bins --examples --quiet
count '[0-9]+ passed' cargo nextest run --workspace --no-fail-fast -E 'not package(diffyne-tests)'

step "examples in the documentation"
count '[0-9]+ passed' cargo test --doc --workspace --quiet

step "Autobahn"
tests/conformance.sh
passed=$((passed + 301))

step "end to end"
ulimit -n "$(ulimit -Hn)"
count '[0-9]+ passed' cargo nextest run --workspace --no-fail-fast -E 'package(diffyne-tests)'

echo
echo "$passed passed, 0 failed"
