# The project's commands. make help lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
scripts := ./integration/scripts

# Arguments for the scripts behind the targets, for example
#   make test ARGS='-run TestPlan -as plain ./gonso'
ARGS ?=
# For make tour: the folder that it works in (its own choice if empty).
DIR ?=
# For make fuzz: the time for each target.
FUZZTIME ?= 30s
# For make test-kernels: arm64, arm, mips64le, ppc64le, riscv64, s390x, 5.10, 6.1, 6.12 or all.
KERNELS ?= arm64 5.10

.PHONY: help
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what tests and demo use, and make the plain user for tests (Debian; root)
	@$(scripts)/setup.sh tests user

.PHONY: setup-all
setup-all: ## the same, and what lint and test-kernels use
	@$(scripts)/setup.sh all

# What setup does, as far as that goes: neither root nor a network nor apt is needed to go on.
.PHONY: try-setup
try-setup:
	@$(scripts)/setup.sh try

.PHONY: probe
probe: ## print what programs may do with namespaces here, and why not (ARGS=-json)
	@go -C integration run ./probe $(ARGS)

.PHONY: demo
demo: try-setup ## build a container image and run it, for root as root and as a plain user
	@$(scripts)/demo.sh build

.PHONY: tour
tour: try-setup ## show in a table what runs where, for root as root and as a plain user (DIR=folder)
	@$(scripts)/demo.sh tour $(if $(DIR),'$(DIR)')

.PHONY: test
test: try-setup ## run all tests, for root as root and as a plain user, and on amd64 the library's for 386 (ARGS=...)
	@$(scripts)/test.sh $(ARGS)
	@$(if $(ARGS),,[ "$$(go env GOHOSTARCH)" != amd64 ] || $(scripts)/test.sh -goarch 386 -short)

.PHONY: stress
stress: try-setup ## the tests that take long, at full length
	@$(scripts)/test.sh -stress $(ARGS)

.PHONY: race
race: try-setup ## the same with the race detector
	@$(scripts)/test.sh -race $(ARGS)

.PHONY: test-kernels
test-kernels: ## boot other kernels and other processors in qemu, and run the tests there (KERNELS=all)
	@$(scripts)/kernels.sh $(ARGS) $(KERNELS)

.PHONY: buildmodes
buildmodes: ## run the tests that depend on how a program is built, in every way to build one
	@$(scripts)/buildmodes.sh

.PHONY: fuzz
fuzz: ## run every fuzz target (FUZZTIME=30s each)
	@FUZZTIME=$(FUZZTIME) $(scripts)/fuzz.sh

.PHONY: bench
bench: ## measure against the floor and against peers, and print the ratios
	@cd integration && go run ./bench $(ARGS)

.PHONY: ports
ports: ## run other projects' tests with what integration/ports writes anew on gonso (root; ARGS=...)
	@$(scripts)/ports.sh $(ARGS)

.PHONY: cross
cross: ## type-check for every Linux architecture and for other systems
	@$(scripts)/cross.sh

.PHONY: toolchains
toolchains: ## build and try it with the oldest Go that go.mod allows, and with the newest
	@$(scripts)/toolchains.sh

.PHONY: lint
lint: ## vet, golangci-lint with the import table, dead code, shellcheck
	@$(scripts)/lint.sh

.PHONY: ci
ci: ## everything that CI runs
	@./.ci/run

.PHONY: clean
clean: ## remove cached kernels, tools and fuzzing corpora, and the plain user for tests
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}"/gonso-kernels "$${XDG_CACHE_HOME:-$$HOME/.cache}"/gonso-tools
	go clean -fuzzcache
	@[ "$$(id -u)" != 0 ] || $(scripts)/setup.sh remove-user
