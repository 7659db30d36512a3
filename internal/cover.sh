#!/bin/bash
# Statement coverage of authn, proxy, config and store by all tests together,
# the ones that drive the production binary included. Fails below the bound.
set -euo pipefail
bound=${1:-85}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/unit" "$work/e2e" "$work/all"
packages=$(go list ./... | paste -sd, -)
GATEHOUSE_COVERDIR="$work/e2e" go test -timeout 10m -cover -coverpkg="$packages" ./... -args -test.gocoverdir="$work/unit" \
  | grep -vE 'no test files|coverage: 0.0%' || true
go tool covdata merge -i="$work/unit,$work/e2e" -o="$work/all"
go tool covdata textfmt -i="$work/all" -o=coverage.out
awk -v bound="$bound" '
  NR == 1 { next }
  { split($1, at, ":"); n = $2; hit = $3
    file = at[1]; sub(/^gatehouse\//, "", file); split(file, dir, "/")
    key = $1; if (!(key in stmts)) { stmts[key] = n; group[key] = dir[1] }
    if (hit > 0) covered[key] = 1 }
  END {
    for (k in stmts) { total[group[k]] += stmts[k]; if (k in covered) done[group[k]] += stmts[k] }
    split("authn proxy config store", want, " ")
    for (i = 1; i <= 4; i++) { g = want[i]; p = total[g] ? 100 * done[g] / total[g] : 0
      printf "%-8s %5.1f %% of %d statements\n", g, p, total[g]; if (p < bound) bad = 1 }
    exit bad }' coverage.out
