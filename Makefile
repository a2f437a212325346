SHELL := bash -o pipefail
GO ?= go

# Packages with goroutines of their own, tested under the race detector by "check".
CONCURRENT = ./internal/control ./internal/daemon ./internal/gate ./internal/hostaddr ./internal/launch ./internal/mapper ./internal/probe/... ./internal/process ./internal/registry/... ./internal/socktable ./internal/transport

# How long each fuzz target runs: a number of inputs, since go test now and then
# takes the end of a time for a failure.
FUZZTIME ?= 200000x

.PHONY: build test bench fuzz check catalog

build:
	$(GO) build -trimpath -o bin/ ./cmd/quaymaster

# All tests, and at the end what was skipped and why. With CI=true nothing is.
test:
	.ci/packages
	$(GO) tool gotestsum --format pkgname -- ./...

# The files of catalog/generated, after a change to the YAML files of catalog/, and
# all that is wrong with those.
catalog:
	$(GO) test -count=1 -run '^TestGenerated$$' ./catalog -update
	$(GO) test -count=1 ./catalog

# Tables of speed, with rpcbind, Samba and nmap beside it: docs/performance.md says how to read it.
bench:
	.ci/packages
	$(GO) run ./bench

fuzz:
	@set -e; for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
			echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p; \
		done; \
	done

check:
	.ci/packages
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not gofmt-clean: $$unformatted"; exit 1; }
	$(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	GOOS=windows $(GO) build -o /dev/null ./cmd/quaymaster
	$(GO) vet -tags noauth ./internal/probe/auth ./cmd/quaymaster
	$(GO) test -tags noauth ./internal/probe/auth
	$(GO) tool staticcheck ./...
	@$(GO) tool govulncheck ./... || { [ $$? = 3 ] && exit 1; echo "govulncheck: its database is out of reach, nothing checked"; }
	GOARCH=386 $(GO) test -exec $(CURDIR)/.ci/run386 ./wire/...
	$(GO) test -race $(CONCURRENT)
	$(GO) test -run TestArchitecture .
