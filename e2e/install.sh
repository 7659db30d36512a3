#!/bin/bash
# Installs what the end-to-end tests put behind and in front of the gateway.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(radicale apache2 apache2-utils git prometheus nginx-light caddy chromium curl gunicorn php-cli tomcat10-common strace sslscan slowhttptest)
# A machine may have its own Node.js.
command -v node >/dev/null && command -v npm >/dev/null || packages+=(nodejs npm)
./internal/packages.sh "${packages[@]}"
mkdir -p .tools
[ -x .tools/go-httpbin ] || go build -C internal/tools -o "$PWD/.tools/go-httpbin" github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin
[ -x .tools/h2spec ] || go build -C internal/tools -o "$PWD/.tools/h2spec" github.com/summerwind/h2spec/cmd/h2spec
if [ ! -d .tools/node/node_modules/playwright-core ]; then
  mkdir -p .tools/node
  npm install --prefix .tools/node --no-audit --no-fund --silent playwright-core@1.65.1
fi
