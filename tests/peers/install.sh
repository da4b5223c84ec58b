#!/usr/bin/env bash
# Installs what `diffyne-bench peers` measures beside a gateway, into a folder of its own: Socket.IO by npm, uWebSockets by
# PyPI's socketify. Needs node, python3 with venv, and on Debian apt-get for libuv, if that is missing.
set -euo pipefail
SOCKET_IO=4.8.4 SOCKETIFY=0.0.31

folder=${1:?usage: tests/peers/install.sh FOLDER}
mkdir -p "$folder"
cd "$folder"
if [ "$(cat installed 2>/dev/null)" = "$SOCKET_IO $SOCKETIFY" ]; then exit 0; fi
npm install --prefix . --silent --no-audit --no-fund "socket.io@$SOCKET_IO"
python3 -m venv venv
venv/bin/pip install --quiet "socketify==$SOCKETIFY"
mkdir -p lib
if ! ldconfig -p | grep -q 'libuv\.so\.1 '; then
  apt-get download --quiet libuv1
  dpkg -x libuv1_*.deb unpacked
  find unpacked -name 'libuv.so.1*' -exec cp -a {} lib/ \;
  rm -rf unpacked libuv1_*.deb
fi
LD_LIBRARY_PATH=$PWD/lib venv/bin/python -c 'import socketify'
echo "$SOCKET_IO $SOCKETIFY" > installed
