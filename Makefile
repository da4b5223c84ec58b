# The front door. `make` alone explains itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test cluster gallery screenshots build install deb bench bench-php load chaos fuzz conformance lint fmt clean tools \
	release-programs bench-tool
BENCH ?=
CHAOS ?=
FUZZ ?=
LOAD ?=

# Where `make build` puts the programs.
PROGRAMS ?= $(or $(CARGO_TARGET_DIR),target)/release
# A script that runs until Ctrl-C, in a process group of its own: the terminal tells it alone, so make has nothing to complain of.
UNTIL_CTRL_C = @bash -mc

# What is measured is built as it is shipped, and so is the worker with the benches' components. Always the whole
# workspace: a part of it has other features, and builds its dependencies again.
# They know their commit. Other builds do not: each commit would have them compile everything again.
RELEASE := DIFFYNE_REVISION=$${DIFFYNE_REVISION-$$(git describe --always --abbrev=12 --dirty --exclude='*' 2>/dev/null)} \
	cargo build --release --workspace --bin diffyne-gateway --bin diffyne-worker
# What measures and breaks is built without link-time optimisation, into target/tools.
TOOLS := cargo build --profile tools --workspace
TOOL := ulimit -n $$(ulimit -Hn) && DIFFYNE_PROGRAMS=$${DIFFYNE_PROGRAMS:-target/release} target/tools/diffyne-bench

help: ## This list
	@echo "Diffyne Cluster: WebSocket gateways and workers for Diffyne"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Settings pass as environment variables: DIFFYNE_WS_PORT=7000 make run"

run: ## Try it: one process, in-memory bus, demo chat at http://127.0.0.1:6001/; APP=/srv/app: your application
	@echo "Building the demo: about two minutes the first time. The address comes at the end."
	cargo run --profile demo -p diffyne-dev -- --database .run/demo.sqlite $(if $(APP),--app '$(APP)')

cluster: build ## Three gateways, two workers, Redis, nginx and a page on 8080; Ctrl-C stops them (deploy/cluster.sh --help)
	$(UNTIL_CTRL_C) 'deploy/cluster.sh $(PROGRAMS)'

gallery: ## Ten example components in Rust at http://127.0.0.1:8080/; Ctrl-C stops them (deploy/gallery.sh --help)
	$(RELEASE) --example gallery
	$(UNTIL_CTRL_C) 'deploy/gallery.sh $(PROGRAMS)'

screenshots: tools ## Pictures of the demo page, the gallery and the admin page, in target/screenshots
	cargo build --workspace --bins --examples
	target/debug/diffyne-bench screenshots

install: build ## The programs, systemd units and examples below PREFIX (/usr/local); deploy/install.sh --help tells more
	deploy/install.sh install $(PROGRAMS)

deb: build ## The same as a Debian package, in target
	deploy/install.sh deb $(PROGRAMS)

build: ## The programs, optimised, in target/release
	@echo "Building diffyne-gateway and diffyne-worker: about four minutes the first time on two cores."
	$(RELEASE)

test: ## Everything: lints, unit and doc tests, Autobahn, end-to-end on real processes; says what each part takes
	tests/run.sh

lint: tools ## Format, clippy, docs, shell, PHP, page scripts, nginx, dependencies (tests/lint.sh --help)
	tests/lint.sh

fmt: ## Format the code
	cargo fmt --all

bench: release-programs bench-tool ## A call beside a bare echo, fan-out, idle memory; BENCH="calls --pairs 9", BENCH=peers; BENCH=help lists all
	$(TOOL) $(if $(filter -%,$(firstword $(BENCH))),all )$(or $(BENCH),all)

bench-php: tools release-programs bench-tool ## The PHP backends beside bare loops in two PHP processes; as root, on a quiet machine
	$(TOOL) php $(BENCH)

load: bench-tool ## Load on a gateway that runs; LOAD="--target 127.0.0.1:6001 --connections 64"
	$(TOOL) load $(LOAD)

chaos: tools ## Break everything on purpose, in full (about 30 minutes); CHAOS="--only drops,soak --seed 7" to choose
	$(TOOLS) --bins
	ulimit -n $$(ulimit -Hn) && target/tools/diffyne-bench chaos $(CHAOS)

fuzz: bench-tool ## Every parser with mutated input, two minutes each; FUZZ="--only page --seconds 600" to choose
	target/tools/diffyne-bench fuzz $(FUZZ)

conformance: ## The Autobahn WebSocket suite against the gateway's own socket code
	tests/conformance.sh

clean: ## Remove what was built and what a cluster left
	cargo clean
	rm -rf .run

tools:
	@tests/tools.sh

release-programs:
	$(RELEASE) --bin test-worker --bin diffyne-dev

bench-tool:
	$(TOOLS) --bin diffyne-bench
