# Benchmarks beside Tcllib and Dovecot; included by the Makefile.

.PHONY: bench bench-quick bench-attack bench-setup

# Everything: all rows and sweeps, five runs of each; writes docs/BENCHMARK.md
# and docs/benchmark.svg. About half an hour.
bench: bench-setup
	benches/run --docs

# Two minutes, to see where one is; its report goes to build/bench.
bench-quick: bench-setup
	benches/run --quick

# A login beside 10,000 silent and slow connections and 5,000 wrong passwords a second.
bench-attack: bench-setup
	$(CARGO) build --release --locked --manifest-path benches/load/Cargo.toml --bin attack
	taskset -c 0 $(TCLSH) benches/attack.tcl "$(CURDIR)" \
		"taskset -c 1 benches/load/target/release/attack"

# Our own server as it is released, and the others. Where they cannot be
# installed, their rows are left out with a note. (Debian starts a Dovecot of
# its own when the package comes in; the benchmark neither uses nor stops it.)
bench-setup:
	@tests/tools/setup.sh bench || tests/tools/setup.sh demo
	@$(MAKE) --no-print-directory build
