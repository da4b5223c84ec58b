#!/usr/bin/env bash
# A whole cluster on this machine: Redis if none answers, workers, gateways, nginx. Ctrl-C stops what it started.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: cluster.sh [BIN_DIR]

Starts Redis (if none answers), workers, gateways and nginx, waits until all are ready, shows a table, and stops
everything that it started on Ctrl-C or SIGTERM.

environment (defaults)
  GATEWAY_PORTS  "6001 6002 6003"     admin pages on port + 10000
  WORKER_PORTS   "7001 7002"          admin pages on port + 10000
  NGINX_PORT     8080                 the one port for clients
  REDIS_PORT     6379
  RUN_DIR        .run                 logs, the demo's SQLite file, nginx's files
Every DIFFYNE_* setting is passed on; without DIFFYNE_SIGNING_KEY or APP_KEY a random key is used for this run.
EOF
}
case "${1-}" in -h | --help) usage; exit 0 ;; esac

top=$(cd "$(dirname "$0")/.." && pwd)
bin=$(cd "${1:-$top/target/release}" && pwd)
read -ra gateways <<<"${GATEWAY_PORTS:-6001 6002 6003}"
read -ra workers <<<"${WORKER_PORTS:-7001 7002}"
nginx_port=${NGINX_PORT:-8080} redis_port=${REDIS_PORT:-6379}
mkdir -p "${RUN_DIR:-$top/.run}"
run=$(cd "${RUN_DIR:-$top/.run}" && pwd)
pids=()

die() { echo "cluster: $*" >&2; exit 1; }
free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
need() { command -v "$1" >/dev/null || die "$1 is missing: apt-get install $2"; }

start() { # NAME COMMAND...
  local name=$1
  shift
  "$@" >"$run/$name.log" 2>&1 &
  pids+=($!)
}

stop() {
  trap - EXIT INT TERM
  echo
  echo "stopping ..."
  # Last started, first stopped: nginx, gateways, workers, Redis.
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill -TERM "${pids[i]}" 2>/dev/null || true; done
  wait
  echo "stopped; logs are in $run"
}

wait_for() { # WHAT LOG COMMAND...
  local what=$1 log=$2
  shift 2
  for _ in $(seq 200); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  [ -f "$log" ] && tail -n 5 "$log" >&2
  die "$what is not ready after 20 s"
}

[ -x "$bin/diffyne-gateway" ] || die "no programs in $bin: run make build"
need nginx nginx
need curl curl
for port in "${gateways[@]}" "${workers[@]}" "$nginx_port"; do
  free "$port" || die "port $port is taken; set GATEWAY_PORTS, WORKER_PORTS or NGINX_PORT"
done
trap stop EXIT
trap 'exit 0' INT TERM

redis_note="was there"
if free "$redis_port"; then
  need redis-server redis-server
  start redis redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --dir "$run"
  redis_note="started"
  wait_for Redis "$run/redis.log" bash -c "exec 3<>/dev/tcp/127.0.0.1/$redis_port"
fi
export DIFFYNE_REDIS_URL=${DIFFYNE_REDIS_URL:-redis://127.0.0.1:$redis_port}
export DIFFYNE_DATABASE=${DIFFYNE_DATABASE:-$run/demo.sqlite}
if [ -z "${DIFFYNE_SIGNING_KEY-}${APP_KEY-}" ]; then
  DIFFYNE_SIGNING_KEY=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  export DIFFYNE_SIGNING_KEY
fi

for port in "${workers[@]}"; do
  start "worker-$port" "$bin/diffyne-worker" serve --worker-listen "127.0.0.1:$port"
done
for port in "${gateways[@]}"; do
  start "gateway-$port" "$bin/diffyne-gateway" serve --listen "127.0.0.1:$port"
done
for port in "${workers[@]}"; do
  wait_for "worker $port" "$run/worker-$port.log" curl -fsS "http://127.0.0.1:$((port + 10000))/ready"
done
# Ready: every worker is found, and Redis is up.
healthy() { [[ $(curl -fsS "http://127.0.0.1:$1/health") == *'"status":"ok"'*"\"workers\":${#workers[@]}"* ]]; }
for port in "${gateways[@]}"; do wait_for "gateway $port" "$run/gateway-$port.log" healthy "$port"; done

mkdir -p "$run/nginx"
servers=$(printf '    server 127.0.0.1:%s max_fails=0;\\n' "${gateways[@]}")
sed -e '/server 127.0.0.1:6002 max_fails/d; /server 127.0.0.1:6003 max_fails/d' \
  -e "s/^    server 127.0.0.1:6001 max_fails=0;/$servers/" \
  -e "s/listen 127.0.0.1:8080/listen 127.0.0.1:$nginx_port/" -e "s#/var/log/nginx#$run/nginx#" "$top/nginx/diffyne.conf" >"$run/nginx/diffyne.conf"
cat >"$run/nginx/nginx.conf" <<EOF
daemon off;
worker_processes 2;
worker_shutdown_timeout 10s;
pid $run/nginx/nginx.pid;
error_log $run/nginx/error.log;
events { worker_connections 16384; }
http {
    access_log off;
    client_body_temp_path $run/nginx/body;
    proxy_temp_path $run/nginx/proxy;
    fastcgi_temp_path $run/nginx/fastcgi;
    uwsgi_temp_path $run/nginx/uwsgi;
    scgi_temp_path $run/nginx/scgi;
    include $run/nginx/diffyne.conf;
}
EOF
nginx -t -q -c "$run/nginx/nginx.conf" || die "nginx does not like $run/nginx/nginx.conf"
start nginx nginx -c "$run/nginx/nginx.conf"
wait_for nginx "$run/nginx.log" curl -fsS "http://127.0.0.1:$nginx_port/health"

echo
printf '  %-9s %-24s %-8s %s\n' part address state more
printf '  %-9s %-24s %-8s %s\n' nginx "ws://127.0.0.1:$nginx_port/" ready "/diffyne, /health"
for port in "${gateways[@]}"; do
  printf '  %-9s %-24s %-8s %s\n' gateway "127.0.0.1:$port" ready "http://127.0.0.1:$((port + 10000))/metrics"
done
for port in "${workers[@]}"; do
  printf '  %-9s %-24s %-8s %s\n' worker "127.0.0.1:$port" ready "http://127.0.0.1:$((port + 10000))/metrics"
done
printf '  %-9s %-24s %-8s %s\n' redis "127.0.0.1:$redis_port" ready "$redis_note"
echo
echo "  logs in $run; Ctrl-C stops what was started"
wait -n || true
die "a part has ended by itself; see the logs in $run"
