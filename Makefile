# The front door. `make` alone explains itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test cluster gallery screenshots build bench bench-php chaos fuzz conformance lint fmt clean tools
BENCH ?=
CHAOS ?=
FUZZ ?=

help: ## This list
	@echo "Diffyne Cluster: WebSocket gateways and workers for Diffyne"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Settings pass as environment variables: DIFFYNE_WS_PORT=7000 make run"

run: ## Try it: one process, in-memory bus, demo chat at http://127.0.0.1:6001/
	cargo run -p diffyne-dev -- --database .run/demo.sqlite

cluster: ## Three gateways, two workers, Redis and nginx on 8080; Ctrl-C stops them (deploy/cluster.sh --help)
	cargo build --release -p diffyne-gateway -p diffyne-worker
	deploy/cluster.sh target/release

gallery: ## Eight example components in Rust at http://127.0.0.1:8080/; Ctrl-C stops them
	cargo build --release -p diffyne-gateway -p diffyne-worker --bins --example gallery
	deploy/gallery.sh target/release

screenshots: tools ## Pictures of the demo page and the gallery, in target/screenshots
	cargo build --workspace --bins
	target/debug/screenshots

build: ## The programs, optimised, in target/release
	cargo build --release -p diffyne-gateway -p diffyne-worker

test: tools ## Everything: format, lints, unit and doc tests, Autobahn, end-to-end on real processes
	tests/run.sh

lint: ## Format and clippy, warnings denied
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## Format the code
	cargo fmt --all

bench: ## A call beside a bare echo, idle memory, fan-out; BENCH="--pairs 5 --only calls" to choose, BENCH=hostile for one client's worst
	cargo build --release --workspace
	ulimit -n $$(ulimit -Hn) && target/release/bench $(BENCH)

bench-php: tools ## The PHP backends beside bare loops in two PHP processes; as root, on a quiet machine
	cargo build --release --workspace
	ulimit -n $$(ulimit -Hn) && target/release/bench-php $(BENCH)

chaos: tools ## Break everything on purpose, in full (about 25 minutes); CHAOS="--only drops,soak --seed 7" to choose
	cargo build --release --workspace
	ulimit -n $$(ulimit -Hn) && target/release/chaos $(CHAOS)

fuzz: ## Every parser with mutated input, two minutes each; FUZZ="--only page --seconds 600" to choose
	cargo build --release -p diffyne-tests --bin fuzz
	target/release/fuzz $(FUZZ)

conformance: ## The Autobahn WebSocket suite against the gateway's own socket code
	tests/conformance.sh

clean: ## Remove what was built and what a cluster left
	cargo clean
	rm -rf .run

tools:
	@tests/tools.sh
