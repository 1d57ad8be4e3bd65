#!/bin/sh
# Makes packages in build/dist.
#
#   dist.sh source VERSION    pop3d-VERSION.tar.gz, what git tracks and the crates it needs
#   dist.sh binary VERSION    pop3d-VERSION-linux-x86_64.tar.gz, to unpack where Tcl searches
#   dist.sh deb VERSION       tcl-pop3d_VERSION-1_amd64.deb
#
# All three are the same, byte for byte, for the same commit, compiler and library versions.
set -eu

cd "$(dirname "$0")/.."
what=$1 version=$2
dist=build/dist
target=${CARGO_TARGET_DIR:-target}
umask 022

# The oldest glibc that binaries must run with: Debian 12's.
oldest_glibc=2.36

say() { printf '%s\n' "$*" >&2; }

# When the sources were changed last, in seconds since 1970.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
    export SOURCE_DATE_EPOCH
fi

# Copies the sources into a new directory.
copy_sources() {
    rm -rf "$1"
    mkdir -p "$1"
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -z | tar -c --null -T - | tar -x -C "$1"
    else
        # An unpacked source tarball.
        tar -c --exclude=./target --exclude=./build . | tar -x -C "$1"
    fi
}

# Packs the directory NAME of build/dist into the file FILE there.
pack() {
    tar -c -C "$dist" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
        --numeric-owner --mode=go=rX,u+rw "$1" | gzip -9n > "$dist/$2"
    rm -rf "${dist:?}/$1"
    say "$dist/$2: $(stat -c %s "$dist/$2") bytes"
}

# Fails if the library needs a newer glibc than it may.
check_glibc() {
    needed=$(objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | cut -d _ -f 2 | sort -Vu | tail -n 1)
    if ! printf '%s\n' "$needed" "$oldest_glibc" | sort -CV; then
        say "$1 needs glibc $needed, which is newer than $oldest_glibc: build it on Debian 12"
        exit 1
    fi
    say "$1 needs glibc $needed"
}

# The crates, once for each version of Cargo.lock.
vendor() {
    stamp=$(cksum < Cargo.lock)
    if [ "$(cat build/vendor/stamp 2>/dev/null || true)" != "$stamp" ]; then
        rm -rf build/vendor
        mkdir -p build/vendor
        cargo vendor --quiet --locked --versioned-dirs build/vendor/crates >/dev/null
        printf '%s' "$stamp" > build/vendor/stamp
    fi
}

mkdir -p "$dist"
case "$what" in
source)
    name=pop3d-$version
    copy_sources "$dist/$name"
    vendor
    cp -R build/vendor/crates "$dist/$name/vendor"
    mkdir -p "$dist/$name/.cargo"
    cp packaging/vendored.toml "$dist/$name/.cargo/config.toml"
    pack "$name" "$name.tar.gz"
    ;;
binary)
    name=pop3d$version
    rm -rf "${dist:?}/$name"
    check_glibc "$target/release/libpop3d.so"
    make --no-print-directory install DESTDIR="$dist" TCLLIBDIR= DOCDIR="/$name" \
        MANDIR="/$name/man" >&2
    strip --strip-unneeded "$dist/$name/libpop3d.so"
    vendor
    tclsh packaging/licences.tcl build/vendor/crates > "$dist/$name/LICENSES-OF-CRATES"
    pack "$name" "pop3d-$version-linux-x86_64.tar.gz"
    ;;
deb)
    check_glibc "$target/release/libpop3d.so"
    copy_sources build/deb/source
    mkdir -p build/deb/source/target/release
    cp "$target/release/libpop3d.so" build/deb/source/target/release/
    if [ -d build/doc/man ]; then
        mkdir -p build/deb/source/build/doc
        cp -R build/doc/man build/deb/source/build/doc/
    fi
    vendor
    tclsh packaging/licences.tcl build/vendor/crates > build/deb/source/LICENSES-OF-CRATES
    {
        printf 'tcl-pop3d (%s-1) unstable; urgency=medium\n\n' "$version"
        printf '  * See /usr/share/doc/tcl-pop3d/changelog.gz.\n\n'
        printf ' -- %s  %s\n' "$(sed -n 's/^Maintainer: //p' debian/control)" \
            "$(LC_ALL=C date -uRd "@$SOURCE_DATE_EPOCH")"
    } > build/deb/source/debian/changelog
    (cd build/deb/source && env -u CARGO_TARGET_DIR dpkg-buildpackage -b -us -uc)
    mv build/deb/tcl-pop3d_*.deb "$dist/"
    say "$(ls -l "$dist"/tcl-pop3d_"$version"*.deb)"
    # An error of Debian's policy fails; what else it says is for whoever reads it.
    lintian --allow-root --display-info --fail-on error "$dist"/tcl-pop3d_"$version"-1_*.deb
    ;;
*)
    say "usage: dist.sh source|binary|deb VERSION"
    exit 2
    ;;
esac
