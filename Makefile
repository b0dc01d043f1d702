# The two commands for a first look are `make demo` and `make test`; both do all set-up themselves.

# rustup puts cargo here; a shell that was open before does not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

CARGO ?= cargo
PLUGINS := -p clean -p alarms -p by-hand -p hostile
WASM := --target wasm32-wasip2

.PHONY: help
help: ## Show this list
	@echo "Usage: make TARGET"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: toolchain ## See it work: build, ingest a file of alarms, swap the plugin while the worker runs
	@scripts/demo.sh

.PHONY: test
test: toolchain redis terminal plugins ## Run the tests that need Rust, Redis and SQLite (installs redis-server where it can)
	$(CARGO) test --locked --workspace

.PHONY: test-all
test-all: test ## Run `make test`, and what needs more servers, languages or browsers (nothing yet)

.PHONY: faults
faults: toolchain redis plugins ## Kill, stop and cut off everything on purpose, write docs/reliability.md (SEED=n for the same again)
	$(CARGO) test --locked --workspace --test faults -- --full --report "$(CURDIR)/docs/reliability.md" $(if $(SEED),--seed $(SEED))

.PHONY: fuzz
fuzz: toolchain ## Have libFuzzer look for bytes that break a property (SECONDS_EACH=600 for each of the targets)
	@scripts/fuzz.sh $(or $(SECONDS_EACH),600) $(TARGETS)

.PHONY: lint
lint: toolchain ## Check format, lints (warnings denied) and lock files, for the host, for WebAssembly and for fuzzing
	@scripts/toolchain.sh lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked $(PLUGINS) -p boundary-guest $(WASM) -- -D warnings
	$(CARGO) update --quiet --locked --workspace --manifest-path fuzz/Cargo.toml

.PHONY: plugins
plugins: toolchain ## Build the example plugins: target/wasm32-wasip2/release/*.wasm
	$(CARGO) build --locked --release $(PLUGINS) $(WASM)

.PHONY: bench
bench: toolchain redis plugins ## Measure against native code and others, write BENCHMARKS.md (a quarter of an hour)
	@scripts/bench.sh

.PHONY: bench-micro
bench-micro: toolchain ## Measure each stage, the plugin boundary, and the author's crate
	$(CARGO) bench --locked --workspace --bench stages --bench boundary --bench guest -- --sort location

.PHONY: clean
clean: ## Remove what was built
	$(CARGO) clean

.PHONY: toolchain redis terminal
toolchain:
	@scripts/toolchain.sh
redis:
	@scripts/redis.sh
terminal:
	@command -v script >/dev/null 2>&1 || { echo "The tests need \`script\`, which gives them a terminal. Install it: apt-get install bsdutils, dnf install util-linux-script or util-linux, apk add util-linux-misc" >&2; exit 1; }
