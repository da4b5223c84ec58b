#!/usr/bin/env bash
# Installs the programs, the systemd units, the settings and the examples, or packs them as a Debian package.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: install.sh install [PROGRAMS]     copies into $DESTDIR$PREFIX, by default into /usr/local
       install.sh uninstall              removes what install has copied, but for /etc/diffyne
       install.sh deb [PROGRAMS]         makes diffyne_VERSION_ARCHITECTURE.deb in $OUTPUT, by default target

PROGRAMS is the directory of diffyne-gateway and diffyne-worker; default: target/release (make build).

environment (defaults)
  PREFIX     /usr/local
  DESTDIR    (empty)        put before every path, to prepare a package
  OUTPUT     target         where the package goes
  DEB_LEVEL  6              how hard it is compressed, 0 to 9

Nothing is started or enabled, and /etc/diffyne/diffyne.env stays as it is when it is there. After `install`:
  systemd-sysusers && systemd-tmpfiles --create     (the user diffyne and directories)
  systemctl daemon-reload
EOF
}

top=$(cd "$(dirname "$0")/.." && pwd)
die() { echo "install: $*" >&2; exit 1; }
PREFIX=${PREFIX:-/usr/local} DESTDIR=${DESTDIR:-} OUTPUT=${OUTPUT:-$top/target}
bin=${2:-${CARGO_TARGET_DIR:-$top/target}/release}

# Units of /usr are the distribution's; others are the administrator's.
unit_directory() { if [ "$PREFIX" = /usr ]; then echo /usr/lib/systemd/system; else echo /etc/systemd/system; fi; }

# Every file but the settings: MODE SOURCE DESTINATION.
files() {
  local file
  echo "755 $bin/diffyne-gateway $PREFIX/bin/diffyne-gateway"
  echo "755 $bin/diffyne-worker $PREFIX/bin/diffyne-worker"
  for file in diffyne-gateway@.service diffyne-gateway@.socket diffyne-worker@.service; do
    echo "644 $top/deploy/systemd/$file $(unit_directory)/$file"
  done
  echo "644 $top/deploy/systemd/diffyne.sysusers $PREFIX/lib/sysusers.d/diffyne.conf"
  echo "644 $top/deploy/systemd/diffyne.tmpfiles $PREFIX/lib/tmpfiles.d/diffyne.conf"
  for file in diffyne-gateway diffyne-worker; do
    echo "644 $top/deploy/completions/$file.bash $PREFIX/share/bash-completion/completions/$file"
    echo "644 $top/deploy/completions/_$file $PREFIX/share/zsh/site-functions/_$file"
    echo "644 $top/deploy/completions/$file.fish $PREFIX/share/fish/vendor_completions.d/$file.fish"
  done
  for file in "$top"/deploy/man/*.1; do echo "644 $file $PREFIX/share/man/man1/$(basename "$file")"; done
  for file in deploy/diffyne.env.example deploy/diffyne.toml.example \
    deploy/supervisor/diffyne.conf deploy/prometheus/alerts.yml deploy/prometheus/prometheus.yml \
    nginx/diffyne.conf nginx/application.conf nginx/upstream.conf nginx/locations.conf nginx/tls.conf nginx/nginx.conf; do
    echo "644 $top/$file $PREFIX/share/doc/diffyne/examples/${file#deploy/}"
  done
  # The Composer package, for a path repository.
  while read -r file; do echo "644 $file $PREFIX/share/diffyne/laravel/${file#"$top"/deploy/laravel/}"; done < <(find "$top/deploy/laravel" -type f | sort)
  for file in README.md CHANGELOG.md LICENSE docs/operations.md docs/settings.md docs/migration.md docs/laravel.md docs/security.md; do
    echo "644 $top/$file $PREFIX/share/doc/diffyne/$(basename "$file")"
  done
}

install_files() {
  local mode from to
  for program in diffyne-gateway diffyne-worker; do
    [ -x "$bin/$program" ] || die "no $program in $bin: run make build, or name the directory of the programs"
  done
  while read -r mode from to; do
    install -D -m "$mode" "$from" "$DESTDIR$to"
    case $to in *.service) sed -i "s#/usr/local/#$PREFIX/#g" "$DESTDIR$to" ;; esac
  done < <(files)
  if [ ! -e "$DESTDIR/etc/diffyne/diffyne.env" ]; then
    install -d -m 755 "$DESTDIR/etc/diffyne"
    settings >"$DESTDIR/etc/diffyne/diffyne.env"
    # It has keys. Its group becomes diffyne once there is one.
    chmod 640 "$DESTDIR/etc/diffyne/diffyne.env"
    if [ -z "$DESTDIR" ] && getent group diffyne >/dev/null; then chgrp diffyne /etc/diffyne/diffyne.env; fi
  fi
}

settings() {
  cat <<EOF
# Settings of diffyne-gateway and diffyne-worker. All of them, with their defaults:
# $PREFIX/share/doc/diffyne/examples/diffyne.env.example. Check them with
#   diffyne-gateway doctor --env-file /etc/diffyne/diffyne.env --app /var/www/app
# This file is for root and the group diffyne: chgrp diffyne and chmod 640. After a change of keys or tokens:
#   systemctl reload 'diffyne-gateway@*' 'diffyne-worker@*'

# The application whose components workers run. Workers read its .env, too.
DIFFYNE_APP=/var/www/app
# Its APP_KEY, for the gateways, which cannot read its .env.
#APP_KEY=
# What pages connect with (openssl rand -hex 16), and where they are.
#DIFFYNE_WS_KEY=
#DIFFYNE_WS_CORS_ORIGINS=https://shop.example
#APP_URL=https://shop.example
DIFFYNE_REDIS_URL=redis://127.0.0.1:6379
EOF
}

uninstall() {
  local mode from to
  while read -r mode from to; do rm -f "$DESTDIR$to"; done < <(files)
  rm -rf "$DESTDIR$PREFIX/share/doc/diffyne"
}

deb() {
  local root version architecture
  command -v dpkg-deb >/dev/null || die "dpkg-deb is missing"
  root=$(mktemp -d)
  version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$top/Cargo.toml")
  architecture=$(dpkg --print-architecture)
  PREFIX=/usr DESTDIR=$root
  install_files
  mkdir "$root/DEBIAN"
  chmod 755 "$root" "$root/DEBIAN"
  cat >"$root/DEBIAN/control" <<EOF
Package: diffyne
Version: $version
Architecture: $architecture
Maintainer: The maintainers of Diffyne Cluster
Section: web
Priority: optional
Depends: libc6, util-linux
Recommends: redis-server, nginx
Suggests: php-cli, prometheus
Description: WebSocket gateways and workers for Diffyne
 Gateways keep the connections of Diffyne pages, and workers run the components
 of a Laravel application behind them. Units, settings and examples are included.
EOF
  echo /etc/diffyne/diffyne.env >"$root/DEBIAN/conffiles"
  cat >"$root/DEBIAN/postinst" <<'EOF'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  getent group diffyne >/dev/null || groupadd --system diffyne
  getent passwd diffyne >/dev/null ||
    useradd --system --gid diffyne --no-create-home --home-dir / --shell /usr/sbin/nologin --comment 'Diffyne gateways' diffyne
  install -d -o diffyne -g diffyne -m 2770 /var/log/diffyne
  chgrp diffyne /etc/diffyne/diffyne.env
  chmod 640 /etc/diffyne/diffyne.env
  if [ -d /run/systemd/system ]; then
    systemd-tmpfiles --create diffyne.conf || true
    systemctl daemon-reload || true
    # What runs goes on with the new release, one after the other: workers first.
    if [ -n "$2" ]; then systemctl try-restart 'diffyne-worker@*.service' 'diffyne-gateway@*.service' || true; fi
  fi
fi
EOF
  cat >"$root/DEBIAN/prerm" <<'EOF'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  systemctl stop 'diffyne-gateway@*' 'diffyne-worker@*' || true
fi
EOF
  cat >"$root/DEBIAN/postrm" <<'EOF'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
if [ "$1" = purge ]; then
  rm -rf /etc/diffyne /var/log/diffyne /var/lib/diffyne
  # The user stays, as Debian's policy has it: files may still be its own.
fi
EOF
  chmod 755 "$root/DEBIAN"/{postinst,prerm,postrm}
  mkdir -p "$OUTPUT"
  dpkg-deb --root-owner-group -Zgzip "-z${DEB_LEVEL:-6}" --build "$root" "$OUTPUT/diffyne_${version}_$architecture.deb"
  rm -rf "$root"
}

case "${1-}" in
  install) install_files ;;
  uninstall) uninstall ;;
  deb) deb ;;
  -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
