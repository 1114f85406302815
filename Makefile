# `make help` lists the targets.

CARGO ?= cargo
# Cargo.lock decides what is built; `make ... LOCKED=` lets it change.
LOCKED ?= --locked
# How long `make fuzz` tries each target.
FUZZ_SECONDS ?= 10

# Where `make conformance` has http-cache-tests from; SUITE=FOLDER takes a checkout of its repository instead.
SUITE ?=
# The list of tests it runs, id and kind: one that is kept beside the repository, else the repository's own.
TESTS ?= $(abspath $(firstword $(wildcard ../shared/conformance/visible.tsv) load-tests/conformance/tests.tsv))

.DEFAULT_GOAL := help
.PHONY: help deps build run test conformance fuzz lint bench bench-quick instructions release

help: ## What can be made here
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do \
		printf '  make %-12s %s\n' "$$target" "$$text"; done

deps: ## Install what is missing on Debian: PostgreSQL, a C compiler, cmake
	@.ci/deps

build: ## Build lacquer and lacquer-origin for use, into target/release
	@.ci/deps build
	$(CARGO) build $(LOCKED) --release -p proxy -p origin --bins

release: ## Build lacquer as it is meant to be installed, with a profile of its own work, into target/dist; 10 minutes
	@.ci/deps release
	@CARGO='$(CARGO)' LOCKED='$(LOCKED)' .ci/release

run: deps build ## Run PostgreSQL, the origin and the front door until Ctrl-C; data stay in ./data
	@.ci/run-local

test: deps ## Run all tests, with a real PostgreSQL
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install cargo-nextest --locked
	$(CARGO) test $(LOCKED) --workspace --doc --quiet
	$(CARGO) build $(LOCKED) --workspace --bins
	$(CARGO) nextest run $(LOCKED) --workspace

conformance: deps ## Run the public suite http-cache-tests against the front door
	$(CARGO) build $(LOCKED) -p proxy --bins
	@load-tests/conformance/run $(if $(SUITE),--suite $(SUITE)) --tests $(TESTS)

fuzz: ## Feed the parsers and rules inputs that a fuzzer makes, FUZZ_SECONDS (10) for each target
	@.ci/deps fuzz
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install cargo-fuzz --locked
	@CARGO='$(CARGO)' proxy/fuzz/run $(FUZZ_SECONDS)

lint: ## Check format, clippy, documentation, licences and sources
	@.ci/deps build
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked --version '^0.20'
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	$(CARGO) fmt --manifest-path proxy/fuzz/Cargo.toml --check
	$(CARGO) clippy $(LOCKED) --manifest-path proxy/fuzz/Cargo.toml --lib --bins -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' $(CARGO) doc $(LOCKED) --workspace --no-deps --document-private-items
	$(CARGO) deny $(LOCKED) check licenses bans sources
	$(CARGO) deny $(LOCKED) --manifest-path proxy/fuzz/Cargo.toml --config proxy/fuzz/deny.toml check licenses bans sources
	@if timeout 60 $(CARGO) deny fetch db >/dev/null 2>&1; then \
		$(CARGO) deny $(LOCKED) check advisories; \
	else echo 'advisories: not checked, their database cannot be reached from here'; fi

bench: release ## Measure lacquer and its peers side by side, for two hours or so; BENCH='--lines miss --rounds 3' for a part
	@.ci/deps bench
	LACQUER_BIN='$(CURDIR)/target/dist/lacquer' $(CARGO) run $(LOCKED) --release -p load-tests --bin bench -- $(BENCH)

bench-quick: ## The same for 128 B hits and what `make build` makes, in under two minutes
	@.ci/deps bench
	$(CARGO) build $(LOCKED) --release -p proxy
	$(CARGO) run $(LOCKED) --release -p load-tests --bin bench -- --quick $(BENCH)

instructions: ## Count instructions a request, and fail where there are 3 % more than the baseline has; RENEW=--renew writes it
	@.ci/deps instructions
	$(CARGO) build $(LOCKED) --release -p proxy
	$(CARGO) run $(LOCKED) --quiet -p load-tests --bin bench -- instructions $(RENEW)
