#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: Debian packages, npm's, cargo's tools, and a Laravel. Says what it does;
# silent when everything is there.
set -euo pipefail
cd "$(dirname "$0")"

# Command, and the Debian package that has it.
packages='
redis-server redis-server      redis-cli redis-tools    nginx nginx              chromium chromium
prometheus prometheus          promtool prometheus      curl curl                cc gcc
setpriv util-linux             python3 python3          bc bc                    openssl openssl
systemd-analyze systemd        shellcheck shellcheck    php php-cli              phpcs php-codesniffer
supervisord supervisor         pip3 python3-pip         mariadbd mariadb-server
chromium-headless-shell chromium-headless-shell
node nodejs                    npm npm'

debian() {
  local command package module missing=() sudo=
  while read -r command package; do
    command -v "$command" >/dev/null || missing+=("$package")
  done < <(xargs -n 2 <<<"$packages")
  for module in yaml jsonschema; do /usr/bin/python3 -c "import $module" 2>/dev/null || missing+=("python3-$module"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "tools: installing from Debian: ${missing[*]}"
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qy --no-install-recommends "${missing[@]}" >/dev/null
  # Debian starts these as services; the tests start their own.
  for service in redis-server nginx prometheus supervisor mariadb; do $sudo service "$service" stop >/dev/null 2>&1 || true; done
}

# A cargo tool: ready-made from the Python package index where there is one for this machine, else built from source,
# which takes minutes.
cargo_tool() { # COMMAND VERSION SHA256
  local command=$1 version=$2 sum=$3 folder wheel bin=${CARGO_HOME:-$HOME/.cargo}/bin
  if command -v "$command" >/dev/null || [ -x "$bin/$command" ]; then return; fi
  folder=$(mktemp -d)
  wheel=astral-dev-toolchain-$command
  echo "tools: installing $command $version"
  echo "$wheel==$version --hash=sha256:$sum" >"$folder/requirements.txt"
  if python3 -m pip download -q --no-deps --only-binary :all: --require-hashes -d "$folder" -r "$folder/requirements.txt" \
    >"$folder/pip.log" 2>&1; then
    python3 -m zipfile -e "$folder"/*.whl "$folder"
    install -D "$folder"/*.data/scripts/"$command" "$bin/$command"
  else
    echo "tools: no ready-made $command for this machine: building it, which takes minutes"
    cargo install --locked --quiet "$command"
  fi
  rm -rf "$folder"
}

# A real Laravel with a current PHP, in a root of Debian's packages: made once.
laravel() {
  local root=${DIFFYNE_LARAVEL_ROOT:-$HOME/.cache/diffyne-tests/laravel-13}
  # Complete: its last packages are there.
  if [ -e "$root/usr/share/php/Illuminate/autoload.php" ]; then
    [ ! -x "$root/usr/bin/composer" ] || [ ! -x "$root/usr/sbin/nginx" ] || [ ! -x "$root/usr/bin/curl" ] || return 0
    echo "tools: adding packages to $root"
  else
    echo "tools: making $root (PHP 8.4 and Laravel 13 from Debian, about 2 minutes)"
    rm -rf "$root"
  fi
  mkdir -p "$(dirname "$root")"
  ./laravel-chroot.sh "$root" >/dev/null 2>"$root.log" || { tail -n 20 "$root.log" >&2; exit 1; }
}

# What the page's scripts are checked with, from npm, as their lock file says.
scripts() {
  local folder=../gateway/src/client
  cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed-lock.json" && return 0
  echo "tools: installing what checks the page's scripts, from npm"
  npm --prefix "$folder" ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
  cp "$folder/package-lock.json" "$folder/node_modules/.installed-lock.json"
}

debian
scripts
cargo_tool cargo-nextest 0.9.148 76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968
cargo_tool cargo-deny 0.20.2 ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
cargo_tool cargo-shear 1.14.0 d31183d0ee4d3643b7313a4527c6092138bff60b3a1fd35c833a32ed61751ce6
laravel
