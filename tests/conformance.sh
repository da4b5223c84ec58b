#!/usr/bin/env bash
# The Autobahn suite against gateway/examples/echo.rs: no case may fail, every closing has to be right, and each of
# the 117 cases that call for 1002 or 1007 has to see a close code. Of the 216 cases about compression, which take
# minutes, each kind runs once with messages of several sizes; CONFORMANCE_COMPRESSION=all runs them all.
set -euo pipefail
cd "$(dirname "$0")/.."
port=${CONFORMANCE_PORT:-9777}
out=${CONFORMANCE_OUT:-target/autobahn}
case ${CONFORMANCE_COMPRESSION:-some} in
  all) compression=('12.*' '13.*') ;;
  *) compression=(12.1.1 12.1.11 12.2.3 12.3.5 12.4.12 12.5.2 13.1.1 13.2.2 13.3.3 13.4.4 13.5.5 13.6.11 13.7.2) ;;
esac
cargo build --quiet --workspace --example echo
"${CARGO_TARGET_DIR:-target}/debug/examples/echo" "127.0.0.1:$port" >/dev/null &
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
tests/autobahn.sh "ws://127.0.0.1:$port/" "$out/compression" "${compression[@]}" | tee target/autobahn-compression.txt
! grep -q UNIMPLEMENTED target/autobahn-compression.txt || { echo "conformance: an offer was declined" >&2; exit 1; }
