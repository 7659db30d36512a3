# Every target works on a fresh Debian or Ubuntu machine with Go, make and a C
# compiler. Targets that need more install it themselves when run as root, and
# otherwise print the one line to run.

SHELL      := /bin/bash
GO         ?= go
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT     ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
TAGS       := osusergo netgo sqlite_omit_load_extension
LDFLAGS    := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# The binary is stripped: compiling debug information for it takes a quarter of a first build.
# The profile is not called default.pgo, or tests would be compiled with it too.
PROFILE    := cmd/gatehouse/gatehouse.pgo
BUILDFLAGS := -trimpath -tags '$(TAGS)' -gcflags=all=-dwarf=false -pgo=$(CURDIR)/$(PROFILE)
TOOLS      := $(CURDIR)/.tools
FUZZTIME   ?= 30s
# What tests start for themselves.
SERVERS    := postgresql redis-server haproxy
BENCHCOUNT ?= 5

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Somebody who wants to see it should not wait for what the demo does not need:
# optimised code, and the clients of PostgreSQL and Redis. It is two fifths of
# the work of a first build. Compilers with one thread each, and one more of them
# than processors, do not wait for each other.
.PHONY: demo
demo: ## build bin/gatehouse-demo: the same program, compiled quickly, with the embedded database only
	GOMAXPROCS=1 CGO_ENABLED=1 CGO_CFLAGS=-O0 $(GO) build -p $$(($$(nproc) + 1)) -buildvcs=false -tags '$(TAGS) embedded' -gcflags='all=-dwarf=false -N -l' -ldflags '$(LDFLAGS)' -o bin/gatehouse-demo ./cmd/gatehouse

.PHONY: run
run: demo ## see it work: build that, and run the demo on https://localhost:8443
	./bin/gatehouse-demo demo

.PHONY: build
build: ## build bin/gatehouse
	CGO_ENABLED=1 CGO_CFLAGS=-O2 $(GO) build $(BUILDFLAGS) -ldflags '$(LDFLAGS)' -o bin/gatehouse ./cmd/gatehouse

.PHONY: static
static: ## build bin/gatehouse as one static binary
	CGO_ENABLED=1 CGO_CFLAGS=-O2 $(GO) build $(BUILDFLAGS) -ldflags '$(LDFLAGS) -linkmode external -extldflags "-static"' -o bin/gatehouse ./cmd/gatehouse

.PHONY: test
test: ## all tests, with the race detector and in random order
	./internal/packages.sh $(SERVERS)
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout 12m ./...

.PHONY: full
full: build ## the same tests and the app tests at full size: RUN='regexp' for some of them
	./internal/packages.sh $(SERVERS)
	./e2e/install.sh
	GATEHOUSE_FULL=1 $(GO) test -tags apps -count=1 -timeout 90m -v -run '$(or $(RUN),.)' ./e2e/... ./proxy/... ./authn/... ./store/...

.PHONY: cover
cover: ## statement coverage of authn, proxy, config and store; fails below 85 %
	./internal/cover.sh 85

# What ends up in the binary. Two rules of gosec are not for it: G104 wants
# every error handled, and here a dropped one says why where it is dropped;
# G304 minds files named by variables, and here the operator names them all.
# Everything else is excluded where it stands, with its reason.
SHIPPED      := ./authn/... ./cmd/... ./config/... ./identity/... ./proxy/... ./server/... ./store/... ./web/...
GOSEC_EXCEPT := G104,G304

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, gosec; govulncheck where its database can be had
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt wants: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags apps ./e2e/...
	$(GO) build -C internal/tools -o $(TOOLS)/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(TOOLS)/staticcheck -tags apps ./...
	$(GO) build -C internal/tools -o $(TOOLS)/gosec github.com/securego/gosec/v2/cmd/gosec
	$(TOOLS)/gosec -quiet -exclude=$(GOSEC_EXCEPT) -exclude-dir=storetest $(SHIPPED)
	@./internal/vulncheck.sh $(TOOLS)

.PHONY: e2e
e2e: build ## real apps, real clients and a real browser behind the gateway
	./e2e/install.sh
	$(GO) test -tags apps -count=1 -timeout 15m ./e2e/...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s)
	./internal/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: build ## gatehouse against its peers, and what it must reach: SCENARIOS='a,b' ROUNDS=5 WRITE=1 (docs/performance.md) FRESH=1 APART=1 (the proxy has a core of its own)
	./bench/install.sh
	$(GO) build -o $(TOOLS)/bench ./bench
	PATH="$(TOOLS):$$PATH" $(TOOLS)/bench -scenarios '$(SCENARIOS)' -rounds $(or $(ROUNDS),5) $(if $(WRITE),-write) $(if $(FRESH),-fresh) $(if $(APART),-apart)

.PHONY: layers
layers: build ## where the CPU goes, by layer, from a profile under load: WRITE=1 (docs/performance.md)
	./bench/install.sh
	$(GO) build -o $(TOOLS)/bench ./bench
	PATH="$(TOOLS):$$PATH" $(TOOLS)/bench layers $(if $(WRITE),-write)

.PHONY: pgo
pgo: build ## profile the binary under load, for the compiler (cmd/gatehouse/gatehouse.pgo)
	./bench/install.sh
	$(GO) build -o $(TOOLS)/bench ./bench
	mkdir -p $(TOOLS)/profiles
	PATH="$(TOOLS):$$PATH" $(TOOLS)/bench layers -work h1-1k,h2-1k -duration 20s -keep $(TOOLS)/profiles
	$(GO) tool pprof -proto $(TOOLS)/profiles/h1-1k.pprof $(TOOLS)/profiles/h2-1k.pprof > $(PROFILE)

.PHONY: microbench
microbench: ## Go benchmarks of the hot path, BENCHCOUNT (5) times
	$(GO) test -run '^$$' -bench . -benchmem -count $(BENCHCOUNT) ./authn/... ./proxy/... ./server/... ./store/...

.PHONY: docs
docs: build ## regenerate docs/configuration.md from the schema and the table of threats from the tests
	./bin/gatehouse config reference > docs/configuration.md
	$(GO) run ./internal/threats table

.PHONY: bite
bite: ## break the program in many ways, one after another, and see the tests of the threats fail: RUN='regexp' for some
	./internal/packages.sh $(SERVERS)
	./e2e/install.sh
	$(GO) run ./internal/threats bite '$(RUN)'

.PHONY: docker
docker: ## build the container image
	docker build --build-arg VERSION=$(VERSION) -t gatehouse:$(VERSION) .

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .tools coverage.out
