#!/bin/bash
# Installs what the benchmarks compare with and measure by.
set -euo pipefail
cd "$(dirname "$0")/.."
./internal/packages.sh nginx-light haproxy caddy redis-server wrk nghttp2-client
# oauth2-proxy is in no Debian release. It is a peer, not a tool of ours, and
# has a module file of its own so that its many dependencies bind nobody else.
mkdir -p .tools
[ -x .tools/oauth2-proxy ] || go build -C internal/tools/oauth2-proxy -o "$PWD/.tools/oauth2-proxy" github.com/oauth2-proxy/oauth2-proxy/v7 ||
  echo "oauth2-proxy cannot be built here; the benchmarks go on without it" >&2
