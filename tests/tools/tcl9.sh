#!/bin/sh
# Unpacks Debian 13's Tcl 9 into build/tcl9 on Debian 12, installing nothing.
#
# The packages come from the machine's own Debian mirror: a private list of
# sources is derived from apt's, with only the name of the suite changed, and
# apt checks the signatures as ever. A copy of tclsh9.0 is made to use the C
# library that it was built with (patchelf); build/tcl9/tclsh9.0 is a wrapper
# that runs it with the variables it needs, for that process only.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
root=$top/build/tcl9
suite=trixie
packages="tcl9.0 libtcl9.0 tcllib tcl-tls tcl9.0-thread
          libc6 zlib1g libtommath1 libssl3t64 libzstd1"

say() { printf '%s\n' "$*" >&2; }

# The copy holds absolute paths, so a checkout that was moved starts again.
stamp="$suite $packages $root"
if [ "$(cat "$root/stamp" 2>/dev/null || true)" = "$stamp" ] \
    && echo 'exit 0' | "$root/tclsh9.0" >/dev/null 2>&1
then
    exit 0
fi

say "unpacking Tcl 9 of Debian 13 into build/tcl9"
rm -rf "$root"
mkdir -p "$root/apt/lists/partial" "$root/apt/cache/archives/partial" "$root/debs" "$root/tree"
codename=$(. /etc/os-release; echo "$VERSION_CODENAME")
python3 "$top/tests/tools/apt-sources.py" "$codename" "$suite" > "$root/apt/private.sources"

# Everything that apt would keep for the system is kept here instead.
apt() {
    apt-get -q \
        -o Dir::Etc::SourceList="$root/apt/private.sources" \
        -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$root/apt/lists" \
        -o Dir::State::status=/dev/null \
        -o Dir::Cache="$root/apt/cache" \
        -o APT::Default-Release= \
        -o APT::Sandbox::User= \
        -o Acquire::Retries=3 \
        -o Acquire::Languages=none \
        "$@"
}

attempts() {
    for attempt in 1 2 3; do
        if "$@"; then return 0; fi
        say "attempt $attempt failed: $*"
    done
    return 1
}

attempts apt -o APT::Update::Error-Mode=any update >&2
# shellcheck disable=SC2086
(cd "$root/debs" && attempts apt download $packages >&2)
for deb in "$root"/debs/*.deb; do dpkg-deb -x "$deb" "$root/tree"; done

lib=$root/tree/usr/lib/$(basename "$(dirname "$(find "$root/tree/usr/lib" -name 'libtcl9.0.so*' | head -n 1)")")
# Debian's tree has /lib as a link to usr/lib; a deb may ship either.
loader=$(find "$root/tree" -name 'ld-linux*.so*' | head -n 1)
cp "$root/tree/usr/bin/tclsh9.0" "$root/tclsh9.0.bin"
# RPATH, not RUNPATH: it also serves the libraries of loaded extensions.
patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$lib" "$root/tclsh9.0.bin"

cat > "$root/tclsh9.0" <<WRAPPER
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
TCL_LIBRARY=\$here/tree/usr/lib/tcl9.0
TCLLIBPATH="{\$here/tree/usr/share/tcltk} {\$here/tree/usr/lib/tcltk/$(basename "$lib")}\${TCLLIBPATH:+ \$TCLLIBPATH}"
TCL9_0_TM_PATH=\$here/tree/usr/lib/tcl9.0/tcl9
export TCL_LIBRARY TCLLIBPATH TCL9_0_TM_PATH
exec "\$here/tclsh9.0.bin" "\$@"
WRAPPER
chmod +x "$root/tclsh9.0"
rm -rf "$root/debs" "$root/apt/lists" "$root/apt/cache"

version=$(echo 'puts [info patchlevel]; package require Thread; package require tls; package require pop3d; package require tcltest' \
    | "$root/tclsh9.0" 2>&1 | head -n 1)
case "$version" in
    9.*) printf '%s' "$stamp" > "$root/stamp"; say "Tcl $version is ready" ;;
    *) say "tclsh9.0 does not run: $version"; exit 1 ;;
esac
