# Benchmarks beside Tcllib and Dovecot; included by the Makefile.

.PHONY: bench bench-quick bench-setup

# Everything: all rows and sweeps, five runs of each; writes docs/BENCHMARK.md
# and docs/benchmark.svg. About half an hour.
bench: bench-setup
	benches/run --docs

# Two minutes, to see where one is; its report goes to build/bench.
bench-quick: bench-setup
	benches/run --quick

# Our own server as it is released, and the others. A machine without apt or
# without the right to install leaves Dovecot's or Tcllib's rows out.
bench-setup:
	cargo build --release --quiet
	cp target/release/libpop3d.so libpop3d.so
	@command -v dovecot >/dev/null && test -d /usr/share/tcltk/tcllib1* || \
	{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    dovecot-core dovecot-pop3d tcl tcllib >/dev/null; } || \
	echo "dovecot-pop3d and tcllib are not installed: rows without them are left out"
