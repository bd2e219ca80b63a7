# make            build everything in release, and the bundles of our apps
# make demo       upgrade a router under live traffic, and see that nothing is lost; STORE=etcd: with the state in etcd
# make test       formatting, lints, unit tests, end-to-end tests on Open vSwitch
# make test-long  the store's, the model's and the end-to-end tests with many more rounds
# make bench-store  what the store costs, as ratios within one run
# make fuzz       OpenFlow's decoders on random input, for SECONDS=60
# PROFILE=debug   with any of them: Morpheus in an unoptimized build. The tests' own code always is one: it is built
#                 in a fraction of the time, and what they start is what users run.

PROFILE ?= release
STORE ?= embedded
CARGO ?= cargo
OUT = target/$(PROFILE)
cargo_profile = $(if $(filter release,$(PROFILE)),--release,)
# The network tests and the demo make namespaces, which takes root.
as_root = $(if $(filter-out 0,$(shell id -u)),sudo -E,)
runner = $(if $(as_root),--config 'target."cfg(all())".runner = "$(as_root)"',)
end_to_end = MORPH_BIN_DIR=$(CURDIR)/$(OUT) $(CARGO) test $(runner) -p morph-tests --no-fail-fast

.PHONY: all build bundles defects demo test unit e2e test-long bench-store fuzz fmt lint clean dependencies

all: bundles

build: dependencies
	$(CARGO) build $(cargo_profile) --workspace --exclude morph-tests --bins

bundles: build
	scripts/bundles $(OUT)

# Releases that misbehave, and an app that keeps books, for the end-to-end tests.
defects: dependencies
	$(CARGO) build $(cargo_profile) -p router -p ledger --examples

dependencies:
	@scripts/dependencies

demo: dependencies bundles
	$(as_root) /usr/bin/python3 -B mininet/demo.py --bin-dir $(OUT) --store $(STORE)

fmt:
	$(CARGO) fmt --all

lint: dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

unit: dependencies
	$(CARGO) test --workspace --exclude morph-tests --exclude morph-model
	$(CARGO) test -p morph-model -- --show-output

e2e: dependencies bundles defects
	$(end_to_end) -- --test-threads 1 --show-output

test: lint unit e2e

test-long: dependencies bundles defects
	MORPH_LONG=1 $(CARGO) test -p morph-store --no-fail-fast -- --test-threads 1 --show-output
	MORPH_LONG=1 $(CARGO) test -p morph-model --no-fail-fast -- --test-threads 1 --show-output
	MORPH_LONG=1 $(end_to_end) -- --test-threads 1 --show-output

# With libFuzzer where cargo-fuzz is installed (`cargo install cargo-fuzz`; a C++ compiler builds libFuzzer); else a
# stand-in from the same corpus.
SECONDS ?= 60

fuzz:
	@if $(CARGO) fuzz --version >/dev/null 2>&1; then \
	    proto/openflow/fuzz/run $(SECONDS); \
	else \
	    echo "no cargo-fuzz: the stand-in"; \
	    FUZZ_SECONDS=$(SECONDS) $(CARGO) test --release -p morph-openflow --test fuzz; \
	fi

bench-store:
	$(CARGO) build --release -p morph-store --bins --example bench
	target/release/examples/bench target/release/morph-stored
	@test ! -d /dev/shm || TMPDIR=/dev/shm target/release/examples/bench target/release/morph-stored 1000000 flat \
	    | sed '1,2d; s/^| /| without a disk: /'
	@$(CARGO) test --release -p morph-sdk --lib -- --ignored --nocapture --test-threads 1 costs | grep -o '| .* |$$'

clean:
	$(CARGO) clean
