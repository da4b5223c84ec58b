#!/usr/bin/env bash
# The gallery of example components in Rust: a worker that also serves the pages, a gateway, and nginx in front of both.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: gallery.sh [PROGRAMS]        the directory of diffyne-gateway and examples/gallery; default: target/release

Serves the gallery at http://127.0.0.1:8080/ until Ctrl-C, which stops everything that was started.

environment (defaults)
  NGINX_PORT     8080     the one port for browsers
  GATEWAY_PORT   6001     admin pages on port + 10000
  WORKER_PORT    7001     admin pages on port + 10000
  UPLOAD_PORT    7101     file uploads
  PAGES_PORT     8000     the pages themselves
EOF
}
case "${1-}" in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac

top=$(cd "$(dirname "$0")/.." && pwd)
bin=${1:-${CARGO_TARGET_DIR:-$top/target}/release}
nginx_port=${NGINX_PORT:-8080} gateway_port=${GATEWAY_PORT:-6001} worker_port=${WORKER_PORT:-7001}
upload_port=${UPLOAD_PORT:-7101} pages_port=${PAGES_PORT:-8000}

die() { echo "gallery: $*" >&2; exit 1; }
free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
[ -x "$bin/diffyne-gateway" ] && [ -x "$bin/examples/gallery" ] || die "no programs in $bin: run make gallery, or name their directory"
command -v nginx >/dev/null || die "nginx is missing: apt-get install nginx"
for setting in NGINX_PORT=$nginx_port GATEWAY_PORT=$gateway_port WORKER_PORT=$worker_port UPLOAD_PORT=$upload_port PAGES_PORT=$pages_port; do
  free "${setting#*=}" || die "port ${setting#*=} is taken; set ${setting%=*}"
done

run=$(mktemp -d)
pids=()
stop() {
  trap - EXIT
  trap '' INT TERM
  # The line on which the terminal has written ^C ends here.
  echo
  kill "${pids[@]}" 2>/dev/null || true
  wait || true
  rm -rf "$run"
  echo "stopped"
}
trap stop EXIT
trap 'exit 0' INT TERM

# Apart from this terminal, so that Ctrl-C reaches this script alone.
start() { # NAME COMMAND...
  local name=$1
  shift
  setsid setpriv --pdeathsig TERM "$@" >"$run/$name.log" 2>&1 &
  pids+=($!)
}

key=$(head -c 24 /dev/urandom | base64)
export GALLERY_LISTEN=127.0.0.1:$pages_port
start gallery "$bin/examples/gallery" serve --signing-key "$key" --worker-listen "127.0.0.1:$worker_port" \
  --database "$run/gallery.sqlite" --upload-listen "127.0.0.1:$upload_port" --upload-dir "$run" --log warn
start gateway "$bin/diffyne-gateway" serve --listen "127.0.0.1:$gateway_port" --workers "127.0.0.1:$worker_port" \
  --upload-url "http://127.0.0.1:$upload_port" --log warn
# Uploads go to the worker, through the gateway.
sed -e '/location = \/_diffyne\/\(upload\|preview\) /,/^    }$/ s#http://127.0.0.1:8000#http://diffyne#' \
  -e "s#http://127.0.0.1:8000#http://127.0.0.1:$pages_port#" -e "s/listen 127.0.0.1:8080/listen 127.0.0.1:$nginx_port/" \
  -e '/server 127.0.0.1:600[23]/d' -e "s/server 127.0.0.1:6001/server 127.0.0.1:$gateway_port/" \
  -e "s#/var/log/nginx#$run#" "$top/nginx/application.conf" >"$run/site.conf"
cat >"$run/nginx.conf" <<CONF
daemon off; pid $run/nginx.pid; error_log $run/error.log;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path $run/b; proxy_temp_path $run/p; fastcgi_temp_path $run/f;
       uwsgi_temp_path $run/u; scgi_temp_path $run/s; include $run/site.conf; }
CONF
start nginx nginx -c "$run/nginx.conf"

for _ in $(seq 200); do
  if curl -fs "http://127.0.0.1:$nginx_port/counter" >/dev/null && curl -fs "http://127.0.0.1:$nginx_port/_diffyne/health" >/dev/null; then
    printf '\n  The gallery is at http://127.0.0.1:%s/   (Ctrl-C stops it)\n\n' "$nginx_port"
    wait -n "${pids[@]}" || true
    echo "gallery: a program has ended; the ends of the logs:" >&2
    tail -n 5 "$run"/*.log >&2
    exit 1
  fi
  sleep 0.1
done
echo "gallery: it is not ready after 20 s; the ends of the logs:" >&2
tail -n 20 "$run"/*.log >&2
exit 1
