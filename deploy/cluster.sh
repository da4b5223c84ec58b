#!/usr/bin/env bash
# A whole cluster on this machine: Redis if none answers, workers, gateways, nginx. A part that ends is started again.
# Ctrl-C stops what it started.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: cluster.sh [PROGRAMS]        the directory of diffyne-gateway and diffyne-worker; default: target/release

Starts Redis (if none answers), workers with the demo's components, gateways and nginx, waits until all are ready, shows
a table, and serves the demo's page at http://127.0.0.1:8080/. A part that ends, whatever ended it, is named and started
again. Ctrl-C or SIGTERM stops everything that was started.

environment (defaults)
  GATEWAY_PORTS  "6001 6002 6003"     admin pages on port + 10000
  WORKER_PORTS   "7001 7002"          admin pages on port + 10000
  DEMO_PORTS     "27001 27002"        the demo's page for nginx, one of each worker: its port + 20000
  NGINX_PORT     8080                 the one port for clients
  REDIS_PORT     6379
  RUN_DIR        .run                 logs, the demo's SQLite file, nginx's files
Every DIFFYNE_* setting is passed on; without DIFFYNE_SIGNING_KEY or APP_KEY a random key is used for this run.
EOF
}
case "${1-}" in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac

top=$(cd "$(dirname "$0")/.." && pwd)
bin=${1:-${CARGO_TARGET_DIR:-$top/target}/release}
read -ra gateways <<<"${GATEWAY_PORTS:-6001 6002 6003}"
read -ra workers <<<"${WORKER_PORTS:-7001 7002}"
read -ra demos <<<"${DEMO_PORTS-}"
nginx_port=${NGINX_PORT:-8080} redis_port=${REDIS_PORT:-6379}
run=${RUN_DIR:-$top/.run}

# By process id: the part's name. By name: its command.
declare -A names=() commands=()
order=()

die() { echo "cluster: $*" >&2; exit 1; }
free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
need() { command -v "$1" >/dev/null || die "$1 is missing: apt-get install $2"; }

# Starts a part. Apart from this terminal, so that Ctrl-C reaches this script alone, which then stops one after the other.
launch() { # NAME
  local name=$1 command
  eval "command=(${commands[$name]})"
  setsid setpriv --pdeathsig TERM "${command[@]}" >>"$run/$name.log" 2>&1 &
  names[$!]=$name
  case $name in gateway-* | worker-*) echo $! >"$run/control/$name" ;; esac
}

start() { # NAME COMMAND...
  local name=$1
  shift
  : >"$run/$name.log"
  commands[$name]=$(printf '%q ' "$@")
  order+=("$name")
  launch "$name"
}

process_of() { # NAME
  local id
  for id in "${!names[@]}"; do
    if [ "${names[$id]}" = "$1" ]; then echo "$id"; return; fi
  done
}

stop() {
  trap - EXIT
  trap '' INT TERM
  local name id
  # The line on which the terminal has written ^C ends here.
  echo
  echo "stopping ..."
  # Last started, first stopped: nginx, gateways, workers, Redis.
  for ((i = ${#order[@]} - 1; i >= 0; i--)); do
    name=${order[i]}
    id=$(process_of "$name")
    [ -z "$id" ] || kill -TERM "$id" 2>/dev/null || true
  done
  wait
  rm -rf "$run/control"
  echo "stopped; logs are in $run"
}

wait_for() { # WHAT LOG COMMAND...
  local what=$1 log=$2
  shift 2
  for _ in $(seq 200); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  if [ -f "$log" ]; then tail -n 5 "$log" >&2; fi
  die "$what is not ready after 20 s; its log is $log"
}

# How a part has ended, in words.
ending() { # STATUS
  if [ "$1" -gt 128 ]; then echo "was killed by SIG$(kill -l $(($1 - 128)))"; else echo "ended with status $1"; fi
}

# Starts again whatever ends. Never returns.
supervise() {
  local id status name began ended
  local -A last=()
  while true; do
    status=0
    # The shell has words of its own for what was killed.
    { wait -n -p id || status=$?; } 2>/dev/null
    name=${names[${id:-0}]-}
    [ -n "$name" ] || continue
    unset "names[$id]"
    ended=$EPOCHSECONDS began=${last[$name]-0}
    echo "  $name $(ending "$status"); it is started again (log: $run/$name.log)"
    # One that ends again and again gets a pause, so that it does not take the machine.
    if [ $((ended - began)) -lt 2 ]; then sleep 1; fi
    last[$name]=$EPOCHSECONDS
    launch "$name"
  done
}

[ -x "$bin/diffyne-gateway" ] && [ -x "$bin/diffyne-worker" ] || die "no programs in $bin: run make build, or name their directory"
bin=$(cd "$bin" && pwd)
need nginx nginx
need curl curl
need setpriv util-linux
for port in "${gateways[@]}" "${workers[@]}" "$nginx_port" "$redis_port"; do
  [[ $port =~ ^[0-9]+$ ]] && [ "$port" -ge 1 ] && [ "$port" -le 65535 ] || die "$port is no port"
done
for port in "${gateways[@]}"; do
  for taken in "$port" $((port + 10000)); do
    free "$taken" || die "port $taken is taken; set GATEWAY_PORTS"
  done
done
for port in "${workers[@]}"; do
  for taken in "$port" $((port + 10000)); do
    free "$taken" || die "port $taken is taken; set WORKER_PORTS"
  done
done
# Where each worker serves the demo's page.
for ((i = ${#demos[@]}; i < ${#workers[@]}; i++)); do demos+=("$((workers[i] + 20000))"); done
for port in "${demos[@]}"; do
  [ "$port" -le 65535 ] || die "there is no port $port; set DEMO_PORTS"
  free "$port" || die "port $port is taken; set DEMO_PORTS"
done
free "$nginx_port" || die "port $nginx_port is taken; set NGINX_PORT"
mkdir -p "$run"
run=$(cd "$run" && pwd)
rm -rf "$run/control"
mkdir "$run/control"
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

for i in "${!workers[@]}"; do
  start "worker-${workers[i]}" "$bin/diffyne-worker" serve --demo --worker-listen "127.0.0.1:${workers[i]}" \
    --demo-listen "127.0.0.1:${demos[i]}" --demo-control "$run/control"
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
{
  echo "upstream diffyne_demo {"
  for port in "${demos[@]}"; do echo "    server 127.0.0.1:$port max_fails=0;"; done
  echo "}"
  # Only of the WebSocket: scripts come from any gateway.
  echo "map \$status \$diffyne_gateway_cookie { 101 \"diffyne_gateway=\$upstream_addr; Path=/; SameSite=Strict\"; }"
  # The demo's page at / for whoever does not ask for a WebSocket there; a cookie tells it which gateway it has got.
  sed -e '/server 127.0.0.1:6002 max_fails/d; /server 127.0.0.1:6003 max_fails/d' \
    -e "s/^    server 127.0.0.1:6001 max_fails=0;/$servers/" \
    -e "s/listen 127.0.0.1:8080/listen 127.0.0.1:$nginx_port/" -e "s#/var/log/nginx#$run/nginx#" \
    -e '0,/^    location \/ {/s##    add_header Set-Cookie $diffyne_gateway_cookie always;\n    location = / {\n        if ($diffyne_connection = upgrade) { rewrite ^ /diffyne last; }\n        proxy_pass http://diffyne_demo;\n        proxy_set_header Host $http_host;\n        proxy_connect_timeout 1s;\n    }\n    location /demo/ {\n        proxy_pass http://diffyne_demo;\n        proxy_set_header Host $http_host;\n        proxy_connect_timeout 1s;\n    }\n\n&#' \
    "$top/nginx/diffyne.conf"
} >"$run/nginx/diffyne.conf"
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
nginx -t -q -c "$run/nginx/nginx.conf" || die "nginx does not accept $run/nginx/nginx.conf"
start nginx nginx -c "$run/nginx/nginx.conf"
wait_for nginx "$run/nginx.log" curl -fsS "http://127.0.0.1:$nginx_port/health"

echo
printf '  %-9s %-24s %-8s %s\n' part address state more
printf '  %-9s %-24s %-8s %s\n' page "http://127.0.0.1:$nginx_port/" ready "open it, and kill something"
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
supervise
