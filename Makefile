# For a first look, run `make demo` and `make test`. Both do all set-up themselves.

# rustup installs cargo in this folder. A shell that was opened before the installation does not have the folder in its
# PATH.
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
demo: toolchain ## Build, ingest a file of alarms, and swap the plugin while the worker runs
	@scripts/demo.sh

.PHONY: test
test: toolchain redis terminal plugins ## Run the tests that need Rust, Redis and SQLite (installs redis-server where it can)
	$(CARGO) test --locked --workspace

.PHONY: test-all
test-all: test stores node ## Run `make test`, and test object stores and plugins in JavaScript (needs Node, npm and Python; installs the rest)
	$(CARGO) test --locked --workspace --test stores --test plugins_js

.PHONY: faults
faults: toolchain redis plugins ## Inject faults into every part, write docs/reliability.md (SEED=n repeats a run)
	$(CARGO) test --locked --workspace --test faults -- --full --report "$(CURDIR)/docs/reliability.md" $(if $(SEED),--seed $(SEED))

.PHONY: fuzz
fuzz: toolchain ## Run libFuzzer on each target (SECONDS_EACH=600)
	@scripts/fuzz.sh $(or $(SECONDS_EACH),600) $(TARGETS)

.PHONY: miri
miri: toolchain ## Run the unsafe code of the plugin SDK under Miri (installs a nightly toolchain where it is missing)
	@scripts/toolchain.sh miri
	MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=16 $(CARGO) +nightly miri test --locked -p ingest-plugin --lib -- arena:: words:: time::tests::each_digit driver::

.PHONY: lint
lint: toolchain ## Check format, lints (warnings denied) and lock files, for the host, for WebAssembly and for fuzzing
	@scripts/toolchain.sh lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --workspace --test stores --test plugins_js -- -D warnings
	$(CARGO) clippy --locked $(PLUGINS) -p boundary-guest $(WASM) -- -D warnings
	$(CARGO) update --quiet --locked --workspace --manifest-path fuzz/Cargo.toml

.PHONY: plugins
plugins: toolchain ## Build the example plugins: target/wasm32-wasip2/release/*.wasm
	$(CARGO) build --locked --release $(PLUGINS) $(WASM)

.PHONY: bench
bench: toolchain redis plugins ## Compare with native code and other tools, write BENCHMARKS.md (15 minutes; BEFORE=FOLDER: with another build)
	@scripts/bench.sh

.PHONY: bench-stores
bench-stores: toolchain ## Measure 5 GB from S3 to S3, write docs/storage.md (needs 25 GB of disk)
	$(CARGO) bench --locked --workspace --bench large_object -- --full --work "$(CURDIR)/target/bench" --report "$(CURDIR)/docs/storage.md"

.PHONY: bench-micro
bench-micro: toolchain ## Measure each stage, the plugin boundary and the plugin SDK
	$(CARGO) bench --locked --workspace --bench stages --bench boundary --bench guest -- --sort location

.PHONY: clean
clean: ## Remove all build results
	$(CARGO) clean

.PHONY: toolchain redis stores terminal node
toolchain:
	@scripts/toolchain.sh
redis:
	@scripts/redis.sh
stores:
	@scripts/stores.sh
node:
	@scripts/node.sh
terminal:
	@command -v script >/dev/null 2>&1 || { echo "The tests need \`script\`, which gives them a terminal. Install it: apt-get install bsdutils, dnf install util-linux-script or util-linux, apk add util-linux-misc" >&2; exit 1; }
