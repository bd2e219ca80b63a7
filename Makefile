# make               build everything in release, and the bundles of our apps; installs nothing
# make dependencies  install by apt, with sudo where you are not root, what the demo and the tests need
# make demo          upgrade a router under live traffic, and see that nothing is lost; STORE=etcd: with the state in etcd
# make fast          the tests that need no root, no Open vSwitch and no etcd: the same as `cargo test`
# make test          formatting, lints, unit tests, end-to-end tests on Open vSwitch; as root, or with sudo
# make e2e           of these the end-to-end tests alone; TEST=ledger CASE=kills: one file, and tests by their names
# make test-long     the store's, the model's and the end-to-end tests with many more rounds; their figures go to
#                    tests/RESULTS.md and store/RESULTS.md
# make bench-store   what the store costs, as ratios within one run; the figures go to store/RESULTS.md
# make bench         the packet path, beside ovs-testcontroller where that can do the same; the figures go to docs/performance.md
# make fuzz          OpenFlow's decoders on random input, for SECONDS=60
# make deny          licenses, bans and sources of what others wrote (cargo-deny); CHECK=advisories: known defects
# PROFILE=debug      with any of them: Morpheus in an unoptimized build. The tests' own code always is one: it is built
#                    in a fraction of the time, and what they start is what users run.

# A test that fails in front of `| scripts/results` fails the target.
SHELL = /bin/bash
.SHELLFLAGS = -o pipefail -c

PROFILE ?= release
STORE ?= embedded
CARGO ?= cargo
OUT = target/$(PROFILE)
cargo_profile = $(if $(filter release,$(PROFILE)),--release,)
# The tests with a network of their own and the demo make namespaces, which takes root.
as_root = $(if $(filter-out 0,$(shell id -u)),sudo -E,)
runner = $(if $(as_root),--config 'target."cfg(all())".runner = "$(as_root)"',)
# Last revision whose apps know no VLANs: the long form upgrades a network that runs it.
EARLIER = 9cb5060
# Tests that need root, Open vSwitch or etcd.
system_tests = --features morph-openflow/system-tests,morph-proxy/system-tests,morph-store/system-tests
unit_tests = $(CARGO) test $(runner) --no-fail-fast --workspace --exclude morph-tests --exclude morph-model $(system_tests)
end_to_end = MORPH_BIN_DIR=$(CURDIR)/$(OUT) $(CARGO) test $(runner) -p morph-tests --no-fail-fast

.PHONY: all build bundles defects dependencies demo fast test unit e2e smoke bench test-long bench-store fuzz deny fmt lint clean

all: bundles

build:
	$(CARGO) build $(cargo_profile) --workspace --exclude morph-tests --bins

bundles: build
	scripts/bundles $(OUT)

# Releases that misbehave, an app that keeps books, and the SDK's examples, for the end-to-end tests.
defects:
	$(CARGO) build $(cargo_profile) -p topology -p router -p ledger -p morph-sdk -p morph-api --examples

dependencies:
	scripts/dependencies

demo: dependencies bundles
	$(as_root) /usr/bin/python3 -B mininet/demo.py --bin-dir $(OUT) --store $(STORE)

fmt:
	$(CARGO) fmt --all

lint:
	scripts/check-modules --self-test --large Mediator --large Instance controller/morphctl/src controller/morphd/src controller/proxy/src store/src apps/*/src
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(system_tests) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --lib -p morph-openflow -p morph-api -p morph-store -p morph-sdk -p morph-sdk-derive
	scripts/check-docs

fast:
	$(CARGO) test

unit:
	$(unit_tests)
	$(CARGO) test -p morph-model -- --show-output

e2e: bundles defects
	$(end_to_end) $(if $(TEST),--test $(TEST),) -- --test-threads 1 --show-output $(CASE)

test: dependencies lint unit e2e smoke

# The benchmark's own tests, then each kind of its cases, short: each packet-in has to be answered.
smoke: bundles
	python3 -B -m unittest discover -s tools/bench -t tools
	$(as_root) scripts/bench --short --bin-dir $(OUT) --ofbench $(OUT)/ofbench

bench: bundles
	$(as_root) scripts/bench --write docs/performance.md

test-long: dependencies bundles defects
	MORPH_LONG=1 $(CARGO) test $(runner) -p morph-store --features system-tests --no-fail-fast -- --test-threads 1 --show-output \
	    | scripts/results store/RESULTS.md
	MORPH_LONG=1 $(CARGO) test -p morph-model --no-fail-fast -- --test-threads 1 --show-output \
	    | scripts/results tests/RESULTS.md
	earlier=$$(scripts/build-earlier $(EARLIER)) && \
	MORPH_LONG=1 MORPH_EARLIER_BUILD=$$earlier $(end_to_end) -- --test-threads 1 --show-output \
	    | scripts/results tests/RESULTS.md

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

# Lines `RESULT bench/...` of the benchmark, of the same without a disk, and of what migrations cost an instance.
bench-store:
	$(CARGO) build --release -p morph-store --bins --example bench
	{ target/release/examples/bench target/release/morph-stored && \
	  { test ! -d /dev/shm || TMPDIR=/dev/shm target/release/examples/bench target/release/morph-stored 1000000 flat \
	      | sed 's,^RESULT bench/\([^ ]\),RESULT bench/without a disk: \1,'; } && \
	  $(CARGO) test --release -p morph-sdk --lib -- --ignored --nocapture --test-threads 1 costs \
	      | sed -n 's,.*\(RESULT bench/.*\),\1,p'; } | scripts/results store/RESULTS.md

CHECK ?= licenses bans sources

deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny check $(CHECK)

clean:
	$(CARGO) clean
