#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: Debian packages, and cargo-nextest.
set -euo pipefail
declare -A package=([redis-server]=redis-server [nginx]=nginx [prometheus]=prometheus [promtool]=prometheus
  [chromium]=chromium [curl]=curl [cc]=gcc [setpriv]=util-linux [python3]=python3 [bc]=bc [openssl]=openssl [redis-cli]=redis-tools [systemd-analyze]=systemd)
missing=()
for command in "${!package[@]}"; do command -v "$command" >/dev/null || missing+=("${package[$command]}"); done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qy --no-install-recommends "${missing[@]}" >/dev/null
  # Debian starts these as services; the tests start their own.
  for service in redis-server nginx prometheus; do $sudo service "$service" stop >/dev/null 2>&1 || true; done
fi
# A real Laravel with a current PHP, in a root of Debian's packages: made once.
laravel=${DIFFYNE_LARAVEL_ROOT:-$HOME/.cache/diffyne-tests/laravel-13}
if [ ! -e "$laravel/usr/share/php/Illuminate/autoload.php" ]; then
  echo "making $laravel (PHP 8.4 and Laravel 13 from Debian, about 2 minutes)"
  rm -rf "$laravel"
  mkdir -p "$(dirname "$laravel")"
  "$(dirname "$0")/laravel-chroot.sh" "$laravel" >/dev/null 2>"$laravel.log" || { tail -n 20 "$laravel.log" >&2; exit 1; }
fi
cargo nextest --version >/dev/null 2>&1 || cargo install --locked --quiet cargo-nextest
