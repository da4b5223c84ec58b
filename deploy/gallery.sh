#!/usr/bin/env bash
# The gallery of example components: a worker that also serves the pages, a gateway, and nginx in front of both.
#   deploy/gallery.sh TARGET_DIRECTORY
# Stops everything on Ctrl-C. Needs nginx (deploy/cluster.sh needs it, too).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:?where are the programs? (target/release)}
command -v nginx >/dev/null || { echo "gallery: nginx is missing: apt-get install nginx" >&2; exit 1; }

run=$(mktemp -d)
pids=()
stop() {
    trap - EXIT INT TERM
    kill "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$run"
}
trap stop EXIT INT TERM

key=$(head -c 24 /dev/urandom | base64)
GALLERY_LISTEN=127.0.0.1:8000 "$bin/examples/gallery" serve --signing-key "$key" --worker-listen 127.0.0.1:7001 \
    --database "$run/gallery.sqlite" --upload-listen 127.0.0.1:7101 --upload-dir "$run" --log warn >"$run/gallery.log" 2>&1 & pids+=($!)
"$bin/diffyne-gateway" serve --listen 127.0.0.1:6001 --workers 127.0.0.1:7001 --upload-url http://127.0.0.1:7101 \
    --log warn >"$run/gateway.log" 2>&1 & pids+=($!)
# Uploads go to the worker, through the gateway.
sed -e '/location = \/_diffyne\/\(upload\|preview\) /,/^    }$/ s#http://127.0.0.1:8000#http://diffyne#' \
    -e '/server 127.0.0.1:600[23]/d' -e "s#/var/log/nginx#$run#" nginx/application.conf >"$run/site.conf"
cat >"$run/nginx.conf" <<CONF
daemon off; pid $run/nginx.pid; error_log $run/error.log;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path $run/b; proxy_temp_path $run/p; fastcgi_temp_path $run/f;
       uwsgi_temp_path $run/u; scgi_temp_path $run/s; include $run/site.conf; }
CONF
nginx -c "$run/nginx.conf" & pids+=($!)

for _ in $(seq 100); do
    if curl -fs http://127.0.0.1:8080/counter >/dev/null && curl -fs http://127.0.0.1:8080/_diffyne/health >/dev/null; then
        printf '\n  The gallery is at http://127.0.0.1:8080/   (Ctrl-C stops it)\n\n'
        wait -n "${pids[@]}" || true
        echo "gallery: a program has ended; its words:" >&2
        tail -n 5 "$run"/*.log >&2
        exit 1
    fi
    sleep 0.1
done
echo "gallery: it did not start" >&2
tail -n 20 "$run"/*.log >&2
exit 1
