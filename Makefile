# What people do with this project: `make` prints the list.
#
# `make demo` and `make test` install what they lack on Debian (see
# tests/tools/setup.sh); elsewhere they say what is missing.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
TCLSH   ?= tclsh

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# Where the package goes: a directory that TCLSH searches, below PREFIX if that is given.
TCLLIBDIR ?= $(or $(shell $(TCLSH) packaging/tcllibdir.tcl $(if $(filter file,$(origin PREFIX)),,"$(PREFIX)")),$(PREFIX)/lib)
DOCDIR    ?= $(PREFIX)/share/doc/pop3d
MANDIR    ?= $(PREFIX)/share/man
# n, where Tcl's own manual pages are; 3tcl on Debian.
MANSECTION ?= n

LIBDIR = $(DESTDIR)$(TCLLIBDIR)/pop3d$(VERSION)
MANUAL = $(wildcard build/doc/man/*.$(MANSECTION))
MANSUB = $(DESTDIR)$(MANDIR)/man$(patsubst 3%,3,$(MANSECTION))

# Where cargo builds.
TARGET  := $(or $(CARGO_TARGET_DIR),target)
SYSTEM  := $(shell uname -s)
# As cargo and tcl/load.tcl name it.
LIBNAME := $(if $(filter Darwin,$(SYSTEM)),libpop3d.dylib,$(if $(filter MINGW% MSYS% CYGWIN%,$(SYSTEM)),pop3d.dll,libpop3d.so))
LIBRARY := $(TARGET)/release/$(LIBNAME)
SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src crates -name '*.rs' -o -name Cargo.toml)

.PHONY: help demo build doc lint check models portable test test-tcllib install uninstall clean

help:
	@echo "make demo         build, then serve a few demonstration mails on a free port"
	@echo "make build        build the extension ($(LIBRARY))"
	@echo "make lint         rustfmt and clippy"
	@echo "make check        what is fast: lint, the protocol's tests, the layers, the models"
	@echo "make models       every order of threads on a session's lock and on the job queue"
	@echo "make test         every check and test, under Tcl 8.6 and 9.0"
	@echo "make test-tcllib  the same Tcl tests against Tcllib's own pop3d, to compare"
	@echo "make bench        every benchmark beside Tcllib and Dovecot; writes docs/BENCHMARK.md"
	@echo "make bench-quick  the same in two minutes; its report goes to build/bench"
	@echo "make doc          the manual: nroff and HTML in build/doc, Markdown in docs/manual"
	@echo "make install      install where $(TCLSH) searches, or below PREFIX; staged in DESTDIR"
	@echo "make uninstall    remove what install wrote"
	@echo "make dist         source and binary tarballs, in build/dist"
	@echo "make deb          a Debian package, in build/dist"
	@echo "make test-packages  install and use both in fresh Debian 12 and 13 roots (as root)"
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

# Tcllib's dtplite makes it.
doc:
	@tests/tools/setup.sh doc
	@tclsh8.6 docs/man/make.tcl

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

# What systems other than Linux get (src/system).
portable:
	$(CARGO) test --locked --quiet --features portable --lib system
	$(CARGO) test --locked --quiet --features portable --test stores --test maildir --test net

test:
	@tests/tools/setup.sh test
	@rm -rf build/stage
	@$(MAKE) --no-print-directory install PREFIX=/usr TCLLIBDIR=/usr/lib/tcltk DESTDIR=build/stage
	@POP3D_DIR="$(CURDIR)/build/stage/usr/lib/tcltk/pop3d$(VERSION)" \
		exec tclsh8.6 tests/tools/run.tcl all

test-tcllib:
	@tests/tools/setup.sh test
	@exec tclsh8.6 tests/tools/run.tcl tcllib

install: $(LIBRARY)
	install -d "$(LIBDIR)/tcl" "$(DESTDIR)$(DOCDIR)/examples"
	install -m 644 "$(LIBRARY)" "$(LIBDIR)/"
	sed 's/set version {}/set version $(VERSION)/' pkgIndex.tcl > "$(LIBDIR)/pkgIndex.tcl"
	chmod 644 "$(LIBDIR)/pkgIndex.tcl"
	install -m 644 tcl/*.tcl "$(LIBDIR)/tcl/"
	install -m 644 README.md CHANGELOG.md LICENSE* "$(DESTDIR)$(DOCDIR)/"
	cp -R examples/. "$(DESTDIR)$(DOCDIR)/examples/"
ifneq ($(MANUAL),)
	install -d "$(MANSUB)"
	install -m 644 $(MANUAL) "$(MANSUB)/"
endif
	@echo "installed in $(LIBDIR)"

uninstall:
	rm -rf "$(LIBDIR)" "$(DESTDIR)$(DOCDIR)"
	rm -f $(foreach page,$(notdir $(MANUAL)),"$(MANSUB)/$(page)")

clean:
	$(CARGO) clean
	rm -rf build benches/load/target

include benches/bench.mk
include packaging/packaging.mk
