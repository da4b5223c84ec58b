#!/usr/bin/env bash
# Does what docs/getting-started-laravel.md says, block by block: the page is the source. From a clone with built programs
# to a broadcast in two browsers, on a server of its own: namespaces in which systemd, nginx, php-fpm and Redis run over the
# root that the tests have their Laravel in (systemd-root.sh). Prints what each step took; fails beyond ten minutes.
#   tests/ten-minutes.sh [PROGRAMS]      the directory of the built programs; default: target/release (make build)
# Needs root, what tests/tools.sh installs, and diffyne-bench (DIFFYNE_BENCH, else beside the programs or in target/tools).
set -euo pipefail
case "${1-}" in -h | --help) sed -n '2,6s/^# \?//p' "$0"; exit 0 ;; esac
top=$(cd "$(dirname "$0")/.." && pwd)
programs=$(realpath "${1:-${CARGO_TARGET_DIR:-$top/target}/release}")
laravel=${DIFFYNE_LARAVEL_ROOT:-$HOME/.cache/diffyne-tests/laravel-13}
page=docs/getting-started-laravel.md
limit_s=600
die() { echo "ten-minutes: $*" >&2; exit 1; }

bench=
for place in "${DIFFYNE_BENCH-}" "$programs/diffyne-bench" "$top/target/tools/diffyne-bench"; do
  if [ -z "$bench" ] && [ -x "$place" ]; then bench=$place; fi
done
[ -n "$bench" ] || die "no diffyne-bench: make bench-tool"
[ -x "$programs/diffyne-gateway" ] || die "no programs in $programs: make build"
[ -d "$laravel/usr/share/php/Illuminate" ] || die "no Laravel in $laravel: tests/tools.sh"

work=$(mktemp -d)
machine=
cleanup() {
  [ -z "$machine" ] || { kill -KILL "$machine"; wait "$machine" || true; } 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT

began=$(date +%s.%N) last=$(date +%s.%N)
# Says what has been done since the last step.
step() {
  local now
  now=$(date +%s.%N)
  printf '%6.1f s  %s\n' "$(bc -l <<<"$now - $last")" "$1"
  last=$now
}

# Runs a program on the server.
on_server() {
  nsenter -t "$first" -a -r -w env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
}

boot() {
  mkdir "$work/machine"
  unshare --mount --pid --fork --uts --ipc --cgroup --net --kill-child \
    "$top/tests/systemd-root.sh" "$work/machine" "$laravel" >"$work/machine.log" 2>&1 &
  machine=$!
  local until=$((SECONDS + 60))
  # The script becomes systemd: what it has made can be seen through it alone.
  while first=$(tr -d ' ' 2>/dev/null <"/proc/$machine/task/$machine/children") &&
    ! { [ -n "$first" ] && [ -e "/proc/$first/root/run/systemd/private" ]; }; do
    [ $SECONDS -lt $until ] && kill -0 "$machine" 2>/dev/null || { cat "$work/machine.log" >&2; die "systemd does not run"; }
    sleep 0.05
  done
  until [ "$(on_server systemctl is-system-running 2>/dev/null)" = running ]; do
    [ $SECONDS -lt $until ] || { on_server systemctl --failed >&2; die "the server does not come up"; }
    sleep 0.05
  done
}

# What is there before: an application on nginx and php-fpm, with a chat as one of its pages.
existing_application() {
  local root=/proc/$first/root app
  app=$root/var/www/app
  cp -rT "${DIFFYNE_TEST_APPLICATION:-$top/tests/data/laravel}" "$app"
  mkdir -p "$app"/{bootstrap/cache,database,storage/{app,logs,framework/{sessions,views,cache/data}},public/vendor/diffyne}
  cp "$app/.env.example" "$app/.env"
  cp "$top/tests/data/stand-in.js" "$app/public/vendor/diffyne/diffyne.js"
  on_server php -r "(new PDO('sqlite:/var/www/app/database/database.sqlite'))
    ->exec('create table messages (id integer primary key, content text, room_id integer)');"
  on_server chown -R www-data:www-data /var/www/app/{storage,bootstrap/cache,database}
  cat >"$root/etc/nginx/sites-available/default" <<'EOF'
server {
    listen 127.0.0.1:80;
    server_name _;
    root /var/www/app/public;
    location / {
        try_files $uri /index.php?$query_string;
    }
    location ~ \.php$ {
        include snippets/fastcgi-php.conf;
        fastcgi_pass unix:/run/php/php8.4-fpm.sock;
    }
}
EOF
  # Namespaces in namespaces are not to be had everywhere.
  mkdir -p "$root/etc/systemd/system/redis-server.service.d"
  printf '[Service]\nPrivateUsers=no\n' >"$root/etc/systemd/system/redis-server.service.d/server.conf"
  on_server systemctl daemon-reload
  # What the page installs from Debian is there, and the disk of this server ends with it.
  rm -rf "$root"/var/lib/apt/lists/*_* "$root"/var/cache/apt/*.bin
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/server"
  on_server systemctl start php8.4-fpm nginx redis-server || { on_server journalctl --no-pager -n 60 >&2; die "the servers do not start"; }
}

# The marked blocks of the page, a file each: 01.server, 02.prints, ... Line 1 of an insertion says where.
blocks() {
  awk -v folder="$work" '
    /^<!-- (set|build|server|prints|insert) ?.*-->$/ { split($0, mark, " "); kind = mark[2]; place = $0; next }
    /^```/ && file { close(file); file = ""; kind = ""; next }
    /^```/ && kind {
      file = sprintf("%s/%02d.%s", folder, ++count, kind)
      if (kind == "insert") { gsub(/^<!-- insert | -->$/, "", place); print place > file } else printf "" > file
      next
    }
    /^```/ { shown = !shown; next }
    file { print > file; next }
    NF && !shown && kind { print "the comment <!-- " kind " --> has no block" > "/dev/stderr"; exit 1 }
  ' "$1"
}

# Values that readers replace.
APP=/var/www/app URL=http://127.0.0.1 KEY=$(openssl rand -hex 16)

build_block() { (
  cd "$work/clone"
  # The programs are built. All else is as the Makefile has it.
  make() { command make --silent --old-file=build PROGRAMS="$programs" "$@"; }
  scp() { cp "$1" "/proc/$first/root/root/"; }
  # shellcheck disable=SC1090
  . "$1"
); }

server_block() {
  { printf 'set -euo pipefail\ncd\nAPP=%q URL=%q KEY=%q\n' "$APP" "$URL" "$KEY"; cat "$1"; } | on_server bash
}

insert_block() {
  local line place file behind
  IFS= read -r place <"$1"
  file=${place% behind *} behind=${place#* behind }
  file=/proc/$first/root${file/\$APP/$APP}
  line=$(grep -nF -m 1 -- "$behind" "$file" | cut -d : -f 1) || die "$file has no line with $behind"
  sed '1d' "$1" >"$work/insertion"
  sed -i "${line}r $work/insertion" "$file"
}

run_page() {
  local block output=$work/output kind name line
  for block in "$work"/[0-9][0-9].*; do
    kind=${block##*.}
    case $kind in
      set) for name in APP URL KEY; do grep -q "^$name=" "$block" || die "the page does not set $name"; done ;;
      prints)
        while IFS= read -r line; do
          grep -qF -- "$line" "$output" || { cat "$output" >&2; die "the page says that this prints: $line"; }
        done <"$block" ;;
      *)
        "${kind}_block" "$block" >"$output" 2>&1 || {
          cat "$output" >&2
          on_server journalctl --no-pager -o cat -n 40 >&2 || true
          die "a block of $page failed:
$(cat "$block")"
        }
        step "$kind: $(head -n 1 "$block" | cut -c 1-90)" ;;
    esac
  done
}

# What a clone has: the files that git knows, as they are now.
mkdir "$work/clone"
git -C "$top" ls-files -z --cached | tar -C "$top" --null --ignore-failed-read -T - -cf - | tar -C "$work/clone" -xf -
step "a clone of the repository"
boot
existing_application
step "a server with nginx, php-fpm, Redis and an application"
blocks "$work/clone/$page"
run_page
nsenter -t "$first" -n "$bench" browsers "$URL/chat"
step "a broadcast in two browsers"

total=$(bc -l <<<"$(date +%s.%N) - $began")
printf '%6.1f s  in all\n' "$total"
[ "$(bc -l <<<"$total < $limit_s")" = 1 ] || die "this took longer than $limit_s s"
