# Slipway. `make` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION  := $(shell cat VERSION)
# The program is small because functions begin where the one before ends, as for a compiler that is asked for size; because only what a deployment's
# files pass through is compiled with inlining, as the rest waits for a network, a process or a person anyway; and because nothing but alb-check speaks
# HTTP/2, and brings its own frames. Of two patterns that match a package the last one counts.
LDFLAGS  := -s -w -funcalign=1 -X main.version=$(VERSION)
HOT      := slipway/lifecycle/bundle github.com/klauspost/... archive/... bufio bytes compress/... crypto/md5 crypto/sha256 \
            crypto/internal/fips140/sha256 encoding/binary hash/... internal/abi internal/bytealg internal/byteorder internal/poll internal/runtime/... \
            io io/fs os path/filepath runtime/... slices sort sync/atomic syscall unicode/utf8
GOBUILD  := CGO_ENABLED=0 go build -tags nethttpomithttp2 -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -gcflags=all=-l $(HOT:%=-gcflags='%=')
TOOL     := go tool -modfile=packaging/tools/go.mod
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOBIN    := $(shell go env GOPATH 2>/dev/null)/bin
# One megabyte is 1024*1024 here; the budget is in ARCHITECTURE.md.
SIZE_LIMIT := 14680064

.PHONY: help
help: ## list the targets
	@awk 'BEGIN{FS=":.*## "} /^[a-z0-9 -]+:.*## /{printf "  %-14s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

.PHONY: go-toolchain
go-toolchain:
	@command -v go >/dev/null || { echo "Go 1.26 or newer is needed and 'go' is not on PATH: install it from https://go.dev/dl/ and run this again" >&2; exit 1; }

.PHONY: build
build: go-toolchain ## build bin/slipway and bin/slipway-lab for this machine
	@$(GOBUILD) -o bin/slipway ./agent/cmd/slipway
	@$(GOBUILD) -o bin/slipway-lab ./agent/cmd/slipway-lab

ARCHES := amd64 arm64
DIST   := dist
.PHONY: build-all
build-all: go-toolchain ## build static binaries for amd64 and arm64 into dist/
	@for arch in $(ARCHES); do GOOS=linux GOARCH=$$arch $(GOBUILD) -o $(DIST)/slipway_$(VERSION)_linux_$$arch ./agent/cmd/slipway || exit 1; done

.PHONY: demo
demo: go-toolchain ## the main job on the embedded lab: three deployments of a real PHP site, driven by the aws client
	@packaging/demo/run

.PHONY: test
test: go-toolchain ## all tests: Go and the sample application's own
	@packaging/test/run

.PHONY: race
race: go-toolchain ## the Go tests under the race detector
	go test -race ./...

FUZZTIME ?= 20s
FUZZLONG ?= $(FUZZTIME)
.PHONY: fuzz
fuzz: go-toolchain ## every fuzz target for FUZZTIME (20s), the parser of the appspec and its linter for FUZZLONG
	@FUZZTIME=$(FUZZTIME) FUZZLONG=$(FUZZLONG) packaging/fuzz/run

.PHONY: lint
lint: go-toolchain ## go vet, gofumpt and golangci-lint with the import rules
	go vet ./...
	@out=$$($(TOOL) gofumpt -l agent hooks lifecycle packaging systemd testdata); if [ -n "$$out" ]; then echo "not formatted (make fmt):"; echo "$$out"; exit 1; fi
	@test -x $(GOBIN)/golangci-lint || GOFLAGS= go install $(GOLANGCI)
	$(GOBIN)/golangci-lint run

.PHONY: fmt
fmt: go-toolchain ## format the Go code
	$(TOOL) gofumpt -w agent hooks lifecycle packaging systemd testdata

.PHONY: golden
golden: go-toolchain ## rewrite the golden files from what the code prints now
	go test $$(grep -rl 'flag.Bool("update"' --include='*_test.go' . | xargs -n1 dirname | sort -u) -update

.PHONY: bench
bench: build ## measure the budget of ARCHITECTURE.md and print it beside the bounds
	@packaging/bench/run

.PHONY: crash
crash: build ## crashes, kills, faults and losses of power on this machine, and what became of the tree: tables
	@packaging/crash/run

.PHONY: deb rpm packages
deb rpm: go-toolchain ## packages for amd64 and arm64 into dist/, with digests and SBOMs; SIGNING_KEY=file signs them
	@packaging/package/run $@
packages: go-toolchain ## both, made twice and compared, and judged by lintian and rpmlint
	@packaging/package/check

.PHONY: validate
validate: go-toolchain ## packer validate of the image's template; as root its bake on a stand-in for EC2, and the aws client, held against the policies
	@packaging/packer/validate

.PHONY: hostile
hostile: build ## hooks that do what they should not, run by the built program: what was reported, when, and what was left: a table
	@out=$$(SLIPWAY_BINARY=$(CURDIR)/bin/slipway HOSTILE_BYTES=1073741824 go test -count=1 -v -timeout 10m -run TestHostileTable ./agent/cmd/slipway 2>&1) || status=$$?; \
	  if [ -n "$$status" ]; then echo "$$out"; fi; echo "$$out" | sed -n 's/^.*hostile: //p'; exit $${status:-0}

.PHONY: size
size: build ## fail when the stripped binary is larger than the budget
	@n=$$(stat -c %s bin/slipway); awk -v n=$$n -v l=$(SIZE_LIMIT) 'BEGIN{printf "bin/slipway %.2f MiB of %.0f MiB\n",n/1048576,l/1048576; exit n>l}'

.PHONY: check
check: lint test size ## what CI runs, without the demo

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
