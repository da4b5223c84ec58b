#!/usr/bin/env bash
# The Autobahn suite against gateway/examples/echo.rs: no case may fail, every closing has to be right, and each of
# the 117 cases that call for 1002 or 1007 has to see a close code.
set -euo pipefail
cd "$(dirname "$0")/.."
port=${CONFORMANCE_PORT:-9777}
out=${CONFORMANCE_OUT:-target/autobahn}
cargo build --quiet --workspace --example echo
target/debug/examples/echo "127.0.0.1:$port" >/dev/null &
echo_pid=$!
trap 'kill $echo_pid 2>/dev/null || true' EXIT
for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.05; done
kill -0 $echo_pid 2>/dev/null || { echo "conformance: the echo server does not run; is port $port taken?" >&2; exit 1; }
# A report of an earlier run must not be counted.
rm -rf "$out"
mkdir -p target
tests/autobahn.sh "ws://127.0.0.1:$port/" "$out" | tee target/autobahn.txt
line=$(grep '^close code in the 117 cases' target/autobahn.txt) || { echo "conformance: not all 301 cases ran" >&2; exit 1; }
case "$line" in *none*) echo "conformance: a case that calls for a close code saw none" >&2; exit 1 ;; esac
