#!/usr/bin/env bash
# Everything that is checked without running it.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'EOT'
usage: lint.sh [CHECK...]        default: all, in this order

  shell         shellcheck on every script
  php           syntax and style (tests/phpcs.xml) of the PHP that is shipped
  js            ESLint and TypeScript on the page's scripts
  nginx         nginx -t on the sites in nginx/
  supervisor    supervisor reads deploy/supervisor
  deploy        compose.yaml, the Helm chart and Grafana's board (tests/deploy.py)
  dependencies  cargo-shear: none is unused; cargo-deny: bans, licences and sources (deny.toml)
  format        cargo fmt
  clippy        clippy on everything, warnings denied
  docs          cargo doc, warnings denied

The systemd units and the alert rules are checked by tests (identity, operations), the sources' structure by another one
(structure).
EOT
}

php_files() { git ls-files 'deploy/*.php' 'worker/*.php' 'tests/data/loops/*.php'; }

shell() {
  git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck --severity=warning
}

php() {
  local file chroot=${DIFFYNE_LARAVEL_ROOT:-$HOME/.cache/diffyne-tests/laravel-13}
  # The PHP that runs them in the tests.
  while read -r file; do
    command chroot "$chroot" php8.4 -l <"$file" | { grep -v '^No syntax errors' || true; } | sed "s#^#$file: #"
  done < <(php_files)
  php_files | xargs phpcs -q -s --standard=tests/phpcs.xml
}

js() { npm --prefix gateway/src/client run --silent lint; }

nginx() {
  local folder site sites
  folder=$(mktemp -d)
  openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=your.host -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
  for site in nginx/*.conf; do
    sed -E -e "s#^( *ssl_certificate_key ).*#\1$folder/key.pem;#" -e "s#^( *ssl_certificate ).*#\1$folder/cert.pem;#" \
      -e "s#/var/log/nginx#$folder#; s#^pid .*#pid $folder/pid;#" "$site" >"$folder/$(basename "$site")"
  done
  for site in diffyne application tls; do
    printf 'pid %s/pid; error_log stderr; events { } http { access_log off; include %s/%s.conf; }\n' \
      "$folder" "$folder" "$site" >"$folder/test.conf"
    command nginx -t -q -c "$folder/test.conf"
  done
  # A part of a site, and what it needs beside it.
  printf 'pid %s/pid; error_log stderr; events { } http { access_log off; include %s/upstream.conf; server { listen 127.0.0.1:8080; include %s/locations.conf; } }\n' \
    "$folder" "$folder" "$folder" >"$folder/test.conf"
  command nginx -t -q -c "$folder/test.conf"
  # A host may have several of them, in any order, on ports of their own.
  sed -i 's/127.0.0.1:8080/127.0.0.1:8081/' "$folder/application.conf"
  for sites in "diffyne application tls" "tls application diffyne" "application tls diffyne"; do
    {
      printf 'pid %s/pid; error_log stderr; events { } http { access_log off;\n' "$folder"
      for site in $sites; do printf 'include %s/%s.conf;\n' "$folder" "$site"; done
      echo '}'
    } >"$folder/test.conf"
    command nginx -t -q -c "$folder/test.conf"
  done
  command nginx -t -q -c "$folder/nginx.conf"
  rm -rf "$folder"
}

supervisor() {
  local folder
  folder=$(mktemp -d)
  printf '[supervisord]\nlogfile=%s/log\n[include]\nfiles=%s/*.conf\n' "$folder" "$folder" >"$folder/supervisord.ini"
  sed "s#/var/log/diffyne#$folder#" deploy/supervisor/diffyne.conf >"$folder/diffyne.conf"
  # Its own parser, which the daemon starts with: five processes in one group.
  /usr/bin/python3 -W ignore - "$folder/supervisord.ini" <<'EOT'
import sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["-n", "-c", sys.argv[1]])
found = {group.name: len(programs) for group in options.process_group_configs
         for programs in [[p for pool in getattr(group, "pool_configs", [group]) for p in getattr(pool, "process_configs", [])]]}
assert found == {"diffyne": 5}, found
EOT
  rm -rf "$folder"
}

deploy() {
  /usr/bin/python3 tests/deploy.py
  promtool check config --syntax-only deploy/docker/prometheus.yml deploy/prometheus/prometheus.yml >/dev/null
}

dependencies() {
  cargo shear
  cargo deny --log-level error check bans licenses sources
}

format() { cargo fmt --all -- --check; }

clippy() { cargo clippy --workspace --all-targets -- -D warnings; }

# The documentation is for those who work on the code: it may link to what is private.
docs() { RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps --document-private-items; }

case "${1-}" in -h | --help) usage; exit 0 ;; esac
[ $# -gt 0 ] || set -- shell php js nginx supervisor deploy dependencies format clippy docs
for check in "$@"; do
  case "$check" in
    shell | php | js | nginx | supervisor | deploy | dependencies | format | clippy | docs) ;;
    *) usage >&2; exit 2 ;;
  esac
  echo "lint: $check"
  "$check"
done
