# Everything a fresh machine with Rust, a C compiler, Python 3, Node.js and Go needs: `make demo` and `make
# test`. Nothing is installed outside this folder, except by `make install`.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PYTHON := $(VENV)/bin/python
RELEASE := target/release
ABI := $(shell sed -n 's/.*TROP_ABI_VERSION: u32 = \([0-9]*\);.*/\1/p' trop-ffi/src/abi.rs)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
PREFIX ?= /usr/local
DESTDIR ?=
HAS_STATIC_LIBC = $(shell test "`uname`" = Linux && mkdir -p target && \
	echo 'int main(void) { return 0; }' | $(CC) -static -x c -o target/static-probe - 2>/dev/null && echo yes)
CFLAGS_STRICT := -std=c99 -O1 -g -Wall -Wextra -pedantic -Werror

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# ---- what has to be there ----------------------------------------------------------------------------------

need = command -v $(1) >/dev/null 2>&1 || { echo "make: $(2) is missing ($(1))" >&2; exit 1; }
deny = { echo "make: $(1)" >&2; exit 1; }

.PHONY: tools native-tools python-tools node-tools go-tools
tools: native-tools python-tools node-tools go-tools

native-tools:
	@$(call need,cargo,Rust 1.89 or newer)
	@$(call need,cc,a C compiler)

python-tools:
	@$(call need,python3,Python 3.10 or newer)
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || $(call deny,Python 3.10 or newer is needed)
	@python3 -c 'import venv, ensurepip' || $(call deny,Python has no venv module (package python3-venv))

node-tools:
	@$(call need,node,Node.js 20 or newer)
	@$(call need,npm,npm of Node.js)
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || $(call deny,Node.js 20 or newer is needed)

go-tools:
	@$(call need,go,Go 1.23 or newer)

$(VENV)/installed: bindings/python/requirements-dev.txt | python-tools
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --requirement bindings/python/requirements-dev.txt
	@touch $@

bindings/node/node_modules/.package-lock.json: bindings/node/package-lock.json | node-tools
	cd bindings/node && npm ci --no-audit --no-fund
	@touch $@

NODE_EXAMPLES := $(foreach name,jest vitest node-test,examples/$(name)/node_modules/.package-lock.json)

$(NODE_EXAMPLES): examples/%/node_modules/.package-lock.json: examples/%/package-lock.json | node-tools
	cd examples/$* && npm ci --no-audit --no-fund
	@touch $@

# ---- building ----------------------------------------------------------------------------------------------

.PHONY: build libtrop cli python node go examples agents
build: tools libtrop cli python node go examples ## Build the library, the bindings, the command and the examples

libtrop: native-tools ## Build libtrop only
	cargo build --release -p trop-ffi
	ln -sf libtrop.so $(RELEASE)/libtrop.so.$(ABI)

# With the C library linked in statically, and no relocation, the command starts in two thirds of the time.
# Not every system has a static C library.
STATIC := -C target-feature=+crt-static -C relocation-model=static
cli: native-tools ## Build the trop command only
	cargo rustc --release -p trop-cli --bin trop -- $(if $(HAS_STATIC_LIBC),$(STATIC))

python: native-tools $(VENV)/installed ## Build the Python module only, into .venv
	cd bindings/python && ../../$(PYTHON) -m maturin develop --release --quiet

node: native-tools node-tools bindings/node/node_modules/.package-lock.json ## Build the Node.js addon only
	cd bindings/node && npm run --silent build

go: libtrop go-tools ## Build the Go package only
	cd bindings/go && go build ./...

examples: libtrop go-tools node $(NODE_EXAMPLES)
	$(MAKE) --no-print-directory -C examples/c
	cd examples/go && go build -o ../../target/examples/go-example .

agents: libtrop
	mkdir -p target/agents
	cargo build --release -p trop-agent
	$(CC) $(CFLAGS_STRICT) -Iinclude tests/agents/c_agent.c -o target/agents/c-agent \
		-L$(RELEASE) -ltrop "-Wl,-rpath,$(CURDIR)/$(RELEASE)"
	cd tests/agents/go && go build -o ../../../target/agents/go-agent .

# ---- the main job ------------------------------------------------------------------------------------------

.PHONY: demo
demo: build ## Build everything and run every example at once against one registry
	$(PYTHON) examples/demo.py

# ---- checking ----------------------------------------------------------------------------------------------

# A test that forgets to bring a data directory fails, instead of using that of whoever runs it.
test-%: export TROP_DATA_DIR := /dev/null/every-test-has-its-own

.PHONY: test lint traps layers comments test-rust test-c test-go test-python test-node test-examples test-together
test: lint test-rust test-c test-go test-python test-node test-examples test-together ## Format checks, lints and all tests

lint: tools build agents ## Format checks, lints and type checks of every language
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet -p trop-core
	$(VENV)/bin/ruff check bench bindings/python examples tests
	$(VENV)/bin/ruff format --check bench bindings/python examples tests
	$(VENV)/bin/mypy --strict tests/*.py examples/demo.py bench/*.py bench/python/*.py
	@unformatted="$$(gofmt -l bindings/go examples/go tests/agents/go bench/go)"; \
		test -z "$$unformatted" || { echo "gofmt is needed: $$unformatted" >&2; exit 1; }
	cd bindings/go && go vet ./...
	cd examples/go && go vet ./...
	cd tests/agents/go && go vet ./...
	cd bench/go && go vet ./...
	cd bindings/node && npm run --silent lint
	@$(MAKE) --no-print-directory traps layers comments

traps: python-tools ## List the known traps that no test names
	python3 tests/traps.py

layers: python-tools ## Imports of the core that break its layers
	python3 tests/layers.py

comments: python-tools ## Comments that are too long
	python3 tests/comments.py

test-rust: native-tools ## Tests of the core, the C interface in Rust, and the command
	cargo test --workspace --exclude trop-cli
	@# One after the other: probes of the same ports by several tests at once would see each other.
	cargo test -p trop-cli -- --test-threads=1

test-c: libtrop ## Tests in C
	sh tests/c/run.sh

test-go: libtrop cli go-tools ## Tests of the Go package
	cd bindings/go && go test -race ./...

test-python: python cli ## Tests of the Python module
	cd bindings/python && ../../$(PYTHON) -m pytest

test-node: node cli $(NODE_EXAMPLES) ## Tests of the Node.js addon
	cd bindings/node && npm test

# Its ports: each suite has its own, see tests/README.md.
test-examples: export TROP_PORT_MIN := 61000
test-examples: export TROP_PORT_MAX := 61999
test-examples: export TROP_LEASE_PORT_MIN := 61000
test-examples: export TROP_LEASE_PORT_MAX := 61999
test-examples: export TROP_DATA_DIR := $(CURDIR)/target/example-data
test-examples: examples cli python ## The pytest, Jest, Vitest, node:test and Go examples
	rm -rf target/example-data
	cd examples/pytest && ../../$(PYTHON) -m pytest -n 4
	cd examples/jest && npm test
	cd examples/vitest && npm test
	cd examples/node-test && npm test
	cd examples/go && go test .

test-together: build agents bench-workers ## Tests of all languages together
	$(PYTHON) -m pytest tests

# What trop is compared with. Nothing else needs it, so nothing else installs it.
PEERS := target/peers

$(PEERS)/installed: Makefile | $(VENV)/installed node-tools
	rm -rf $(PEERS)/python $(PEERS)/node
	$(PYTHON) -m pip install --quiet --target $(PEERS)/python portpicker==1.6.0 port-for==1.1.1 ephemeral-port-reserve==1.1.4
	mkdir -p $(PEERS)/node
	npm install --silent --no-audit --no-fund --prefix $(PEERS)/node get-port@7.2.0 portfinder@1.0.38 detect-port@2.1.0
	@touch $@

# Its command is called trop, too. Does nothing if it is there already.
$(PEERS)/cargo/installed: Makefile | native-tools
	cargo install --quiet trop-cli --version 0.2.0 --locked --root $(PEERS)/cargo
	@touch $@

.PHONY: collisions
collisions: python $(PEERS)/installed ## Failed binds of leases beside those of other ways to pick a port
	$(PYTHON) tests/collisions.py $(PEERS)

.PHONY: bench bench-workers
bench: bench-workers cli python node $(PEERS)/installed $(PEERS)/cargo/installed ## How fast it is, beside the least it can cost and beside others
	$(PYTHON) bench/run.py $(BENCH)

bench-workers: libtrop go-tools
	mkdir -p target/bench
	cargo build --release -p trop-bench
	$(CC) $(CFLAGS_STRICT) -O2 -Iinclude bench/c/worker.c -o target/bench/c-worker \
		-L$(RELEASE) -ltrop "-Wl,-rpath,$(CURDIR)/$(RELEASE)"
	$(CC) $(CFLAGS_STRICT) -O2 $(if $(HAS_STATIC_LIBC),-static) bench/c/least.c -o target/bench/least \
		$(RELEASE)/libtrop.a -lpthread -ldl -lm
	cd bench/go && go build -o ../../target/bench/go-worker .

.PHONY: bless
bless: native-tools ## Write the golden files anew; read the difference before committing it
	TROP_BLESS=1 cargo test -p trop-ffi --quiet

# ---- installing --------------------------------------------------------------------------------------------

.PHONY: install clean
SHARE := $(DESTDIR)$(PREFIX)/share
# Where man and the shells look by themselves.
MANUAL := $(SHARE)/man/man1/trop.1
COMPLETE_BASH := $(SHARE)/bash-completion/completions/trop
COMPLETE_ZSH := $(SHARE)/zsh/site-functions/_trop
COMPLETE_FISH := $(SHARE)/fish/vendor_completions.d/trop.fish
GENERATED := $(MANUAL) $(COMPLETE_BASH) $(COMPLETE_ZSH) $(COMPLETE_FISH)

# Builds only what is missing, because installing is often done as another user who has no Rust.
install: $(RELEASE)/libtrop.so $(RELEASE)/trop ## Install library, header, command and manual into PREFIX (/usr/local)
	install -d -m 755 $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(RELEASE)/trop $(DESTDIR)$(PREFIX)/bin/trop
	install -d -m 755 $(dir $(GENERATED))
	$(RELEASE)/trop manual > $(MANUAL)
	$(RELEASE)/trop --quiet completions bash > $(COMPLETE_BASH)
	$(RELEASE)/trop --quiet completions zsh > $(COMPLETE_ZSH)
	$(RELEASE)/trop --quiet completions fish > $(COMPLETE_FISH)
	chmod 644 $(GENERATED)
	install -m 755 $(RELEASE)/libtrop.so $(DESTDIR)$(PREFIX)/lib/libtrop.so.$(ABI)
	ln -sf libtrop.so.$(ABI) $(DESTDIR)$(PREFIX)/lib/libtrop.so
	install -m 644 $(RELEASE)/libtrop.a $(DESTDIR)$(PREFIX)/lib/libtrop.a
	install -m 644 include/trop.h $(DESTDIR)$(PREFIX)/include/trop.h
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' trop-ffi/trop.pc.in > $(RELEASE)/trop.pc
	install -m 644 $(RELEASE)/trop.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/trop.pc

$(RELEASE)/libtrop.so:
	$(MAKE) --no-print-directory libtrop

$(RELEASE)/trop:
	$(MAKE) --no-print-directory cli

clean: ## Remove everything that was built or installed in this folder
	rm -rf target $(VENV) bindings/node/node_modules examples/*/node_modules
	rm -f bindings/node/*.node bindings/python/python/trop/*.so examples/c/example
