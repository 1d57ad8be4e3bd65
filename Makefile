# What people do with this project: `make` prints the list.
#
# `make demo` and `make test` install what they lack on Debian (see
# tests/tools/setup.sh); elsewhere they say what is missing.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
TCLSH   ?= tclsh

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Debian's tclsh 8.6 and 9.0 both search lib/tcltk of /usr and of /usr/local.
LIBDIR  := $(DESTDIR)$(PREFIX)/lib/tcltk/pop3d$(VERSION)

# Where cargo builds.
TARGET  := $(or $(CARGO_TARGET_DIR),target)
LIBRARY := $(TARGET)/release/libpop3d.so
SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src crates -name '*.rs' -o -name Cargo.toml)

.PHONY: help demo build lint check models test test-asan test-tcllib install uninstall clean

help:
	@echo "make demo         build, then serve a few demonstration mails on a free port"
	@echo "make build        build the extension ($(LIBRARY))"
	@echo "make lint         rustfmt and clippy"
	@echo "make check        what is fast: lint, the protocol's tests, the layers, the models"
	@echo "make models       every order of threads on a session's lock and on the job queue"
	@echo "make test         every check and test, under Tcl 8.6 and 9.0"
	@echo "make test-asan    the Tcl tests, with our library under AddressSanitizer"
	@echo "make test-tcllib  the same Tcl tests against Tcllib's own pop3d, to compare"
	@echo "make bench        every benchmark beside Tcllib and Dovecot; writes docs/BENCHMARK.md"
	@echo "make bench-quick  the same in two minutes; its report goes to build/bench"
	@echo "make bench-attack a login while others are silent, slow, or guess passwords"
	@echo "make install      install below PREFIX ($(PREFIX)), staged in DESTDIR"
	@echo "make uninstall    remove what install wrote"
	@echo "make clean        remove everything that was built"

build:
	$(CARGO) build --release --locked

# For `install`: what is built needs no cargo, which root often lacks. Cargo decides what
# to do, and may find that nothing has changed.
$(LIBRARY): $(SOURCES)
	$(CARGO) build --release --locked
	@touch -c "$@"

demo:
	@tests/tools/setup.sh demo
	@$(MAKE) --no-print-directory build
	@exec $(TCLSH) examples/demo.tcl

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --quiet --workspace --all-targets -- -D warnings

# Under a minute once it has been built.
check: lint
	$(CARGO) test --locked --quiet -p pop3-proto
	$(CARGO) test --locked --quiet --test layers --test walkthroughs
	@$(MAKE) --no-print-directory models

# A few seconds; but the first time all crates are built for it.
models:
	$(CARGO) test --locked --quiet --features model --lib store::models

test:
	@tests/tools/setup.sh test
	@rm -rf build/stage
	@$(MAKE) --no-print-directory install PREFIX=/usr DESTDIR=build/stage
	@POP3D_DIR="$(CURDIR)/build/stage/usr/lib/tcltk/pop3d$(VERSION)" \
		exec tclsh8.6 tests/tools/run.tcl all

test-asan:
	@tests/tools/setup.sh test
	@exec tests/tools/asan.sh

test-tcllib:
	@tests/tools/setup.sh test
	@exec tclsh8.6 tests/tools/run.tcl tcllib

install: $(LIBRARY)
	install -d "$(LIBDIR)"
	install -m 644 "$(LIBRARY)" pkgIndex.tcl "$(LIBDIR)/"
	@if ls tcl/*.tcl >/dev/null 2>&1; then \
		install -d "$(LIBDIR)/tcl" && install -m 644 tcl/*.tcl "$(LIBDIR)/tcl/"; fi
	@echo "installed in $(LIBDIR)"

uninstall:
	rm -rf "$(LIBDIR)"

clean:
	$(CARGO) clean
	rm -rf build benches/load/target

include benches/bench.mk
