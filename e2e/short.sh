#!/bin/bash
# The short end-to-end run: the demo as a newcomer starts it, in real Chromium.
# Usage: short.sh [SCREENSHOT_DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
./e2e/install.sh
shots=${1:-$(mktemp -d)}
work=$(mktemp -d)
address=127.0.0.1:${DEMO_PORT:-8443}
./bin/gatehouse-demo demo --listen "$address" >"$work/out" 2>&1 &
demo=$!
trap 'kill $demo 2>/dev/null || true; wait $demo 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do
  curl -ksS -o /dev/null "https://localhost:${address##*:}/_auth/login" 2>/dev/null && break
  kill -0 $demo 2>/dev/null || { cat "$work/out"; exit 1; }
  sleep 0.1
done
PLAYWRIGHT_DIR=$PWD/.tools/node node e2e/browser.mjs "https://localhost:${address##*:}" "$shots" || { cat "$work/out"; exit 1; }
echo "screenshots: $shots"
