#!/bin/sh
# Runs the Tcl tests with the library under AddressSanitizer.
#
#   asan.sh ?PATTERN?      PATTERN (glob) picks test files by name
#
# The toolchain brings the sanitizer, but for programs only. tclsh is none of ours, so the
# runtime becomes a library that is loaded before it. What leaks is not looked for: Tcl itself
# frees little at its end. Little of what is freed is kept back, as some tests look at the
# memory. Reports go to build/asan/report.PID.
set -eu

cd "$(dirname "$0")/../.."
host=$(rustc -vV | sed -n 's/^host: //p')
runtime=$(rustc --print sysroot)/lib/rustlib/$host/lib/librustc-stable_rt.asan.a
asan=$PWD/build/asan
[ -f "$runtime" ] || { echo "asan.sh: no $runtime in this toolchain" >&2; exit 1; }

RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
    cargo build --release --locked --lib --target "$host" --target-dir "$asan/target"

rm -rf "$asan/runtime" "$asan/stage" "$asan"/report.*
mkdir -p "$asan/runtime"
(cd "$asan/runtime" && ar x "$runtime" && rm -f ./*preinit*)
cc -shared -o "$asan/runtime.so" "$asan"/runtime/*.o -lstdc++ -lpthread -ldl -lm -lrt
# make is not to build it anew, without the sanitizer.
library=$asan/target/$host/release/libpop3d.so
touch "$library"
make --no-print-directory install LIBRARY="$library" \
    PREFIX=/usr TCLLIBDIR=/usr/lib/tcltk DESTDIR="$asan/stage"

status=0
ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=4:log_path=$asan/report LD_PRELOAD=$asan/runtime.so \
    POP3D_DIR=$(echo "$asan"/stage/usr/lib/tcltk/pop3d*) tclsh8.6 tests/tools/run.tcl tcl "${1:-*}" || status=$?
# A test may pass in spite of a report, if it expects that its process dies.
for report in "$asan"/report.*; do
    [ -e "$report" ] || continue
    cat "$report"
    status=1
done
exit $status
