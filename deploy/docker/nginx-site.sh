#!/bin/sh
# Makes nginx/application.conf, which is for one host, the site of a container: gateways and the application have names,
# and are looked up again while nginx runs, since a container that was made anew has another address.
set -eu
from=${1:-/etc/nginx/application.conf} to=${2:-/etc/nginx/conf.d/default.conf}
resolver=$(awk '$1 == "nameserver" { print $2; exit }' /etc/resolv.conf)
case $resolver in *:*) resolver="[$resolver]" ;; esac
{
  echo "resolver $resolver valid=5s;"
  echo 'upstream diffyne_application { zone diffyne_application 64k; server app:8000 resolve; }'
  sed -E -e 's#server 127\.0\.0\.1:600([0-9])#server gateway-\1:6001 resolve#' \
    -e 's#http://127\.0\.0\.1:8000#http://diffyne_application#' \
    -e 's#listen 127\.0\.0\.1:8080#listen 8080#' \
    -e 's#/var/log/nginx/diffyne\.log#/dev/stdout#' "$from"
} >"$to"
