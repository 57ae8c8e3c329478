# `make` lists the targets. ARGS is passed on: make run ARGS='--shards 4', make test-only ARGS=dist/test/unit.
.DEFAULT_GOAL := help
SHELL := /bin/sh

TUNABLES := $(if $(GLIBC_TUNABLES),$(GLIBC_TUNABLES):)glibc.malloc.hugetlb=1
VITEST := node_modules/vitest/vitest.mjs run --config dist/test/vitest.config.js
# What also runs under Node 24: all that needs no uWebSockets, whose binary here ends at Node 20.
NODE24_TESTS := dist/test/unit dist/test/model dist/test/simulation

# The order of prerequisites is the order of work, also with -j: the test run's summary comes last.
.NOTPARALLEL:
.PHONY: help install build run test test-only test-node24 has-chromium torture coverage lint format layout metrics
.PHONY: cassandra cassandra-stop bench bench-engine bench-wire bench-store bench-restart bench-introspection bench-journal bench-operate
.PHONY: bench-large-user replay replay-cassandra clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' Makefile

# Compared by content: a checkout that only touches the lockfile reinstalls nothing.
install: ## install the dependencies of the lockfile, unless they are there
	@cmp -s package-lock.json node_modules/.installed-lock.json || { \
	  npm ci && cp package-lock.json node_modules/.installed-lock.json; }

build: install ## compile to dist/
	node_modules/.bin/tsc -p tsconfig.json
	node_modules/.bin/tsc -p gateway/console/tsconfig.json
	@node dist/scripts/prune-dist.js
	@node dist/scripts/inline-constants.js
	@node dist/scripts/bundle-threads.js

run: build ## build and start the server
	scripts/tidemark serve $(ARGS)

test: lint test-node24 has-chromium ## everything: build, lint, tests under Node 24, tests
	node $(VITEST)

test-only: build ## the tests without lint, or some: ARGS=dist/test/unit/NAME
	node $(VITEST) $(ARGS)

test-node24: build ## the engine's tests under the Node of TIDEMARK_NODE24
	@if [ -n "$${TIDEMARK_NODE24:-}" ]; then \
	  echo "engine tests under Node $$("$$TIDEMARK_NODE24" --version):" && \
	  "$$TIDEMARK_NODE24" $(VITEST) --reporter=default $(NODE24_TESTS); \
	elif [ "$${CI:-}" = true ]; then \
	  echo "TIDEMARK_NODE24 is not set, and CI must test under Node 24 too: start .ci/run" >&2; exit 1; \
	else \
	  echo "engine tests under Node 24: skipped (set TIDEMARK_NODE24 to its binary; .ci/run does)"; \
	fi

torture: build ## kill the service with -9 under load, 50 times, and prove that it kept its word
	node --enable-source-maps dist/test/torture/main.js $(ARGS)

has-chromium:
	@if [ ! -x "$${TIDEMARK_CHROMIUM:-/usr/bin/chromium}" ]; then \
	  if [ "$${CI:-}" = true ]; then \
	    echo "there is no /usr/bin/chromium, and CI must test the console in a browser: start .ci/run" >&2; exit 1; \
	  fi; \
	  echo "tests of the console in a browser: skipped (apt-get install chromium, or set TIDEMARK_CHROMIUM)"; \
	fi

coverage: build ## the tests, with coverage in coverage/
	node $(VITEST) --coverage $(ARGS)

lint: build ## biome, unused code, import rules, style, docs/layout.md
	node_modules/.bin/biome ci --colors=off .
	node_modules/.bin/knip
	node dist/scripts/check-dependencies.js
	node dist/scripts/check-style.js
	@before=$$(cat docs/layout.md 2>/dev/null || true); node dist/scripts/generate-layout.js && \
	if [ "$$before" != "$$(cat docs/layout.md)" ]; then \
	  echo "docs/layout.md did not match engine/; it is regenerated now: commit it" >&2; exit 1; fi

format: install ## format and fix what biome can
	node_modules/.bin/biome check --write .

cassandra: build ## start Cassandra on 127.0.0.1 (or 1 to 3: NODES=3) for development
	@node dist/scripts/cassandra.js start $(or $(NODES),1)

cassandra-stop: build ## stop what make cassandra started
	@node dist/scripts/cassandra.js stop

layout: build ## regenerate docs/layout.md from the layout tables
	node dist/scripts/generate-layout.js

metrics: build ## regenerate docs/metrics.md from the metrics that a server registers
	node dist/scripts/generate-metrics.js

bench: build ## everything against everything, and a report (QUICK=1: five minutes; ARGS='--only sawtooth --minutes 5')
	QUICK=$(QUICK) GLIBC_TUNABLES=$(TUNABLES) node dist/bench/bench.js $(ARGS)

bench-engine: build ## the engine against other caches
	GLIBC_TUNABLES=$(TUNABLES) node dist/bench/bench-engine.js $(ARGS)

bench-wire: build ## the whole server under open-loop load
	GLIBC_TUNABLES=$(TUNABLES) node dist/bench/bench-wire.js $(ARGS)

bench-store: build ## the Cassandra store beside its driver; needs make cassandra
	node dist/bench/bench-store.js $(ARGS)

bench-introspection: build ## what always-on introspection costs: on and off, interleaved
	GLIBC_TUNABLES=$(TUNABLES) node dist/bench/bench-introspection.js $(ARGS)

bench-journal: build ## what the journal costs: --durability process and none, interleaved
	GLIBC_TUNABLES=$(TUNABLES) node dist/bench/bench-journal.js $(ARGS)

bench-operate: build ## kills, resizes and reloads under load: what is lost, and for how long nobody is served
	GLIBC_TUNABLES=$(TUNABLES) node dist/bench/bench-operate.js $(ARGS)

bench-restart: build ## restarts with 8 million entries in memory
	GLIBC_TUNABLES=$(TUNABLES) node dist/bench/bench-restart.js $(ARGS)

replay: build ## replay recorded traffic against a fresh server (ARGS=FILE and options of tidemark replay)
	node dist/bench/replay-fresh.js $(ARGS)

bench-large-user: build ## what others notice of a user with 100,000 entries, on LMDB and Cassandra
	GLIBC_TUNABLES=$(TUNABLES) node dist/bench/bench-large-user.js $(ARGS)

replay-cassandra: build ## recorded traffic at 60 times its pace on Cassandra: rows written for the updates (36 minutes)
	GLIBC_TUNABLES=$(TUNABLES) node dist/bench/replay-cassandra.js $(ARGS)

clean: ## remove what was built and installed
	rm -rf dist coverage node_modules
