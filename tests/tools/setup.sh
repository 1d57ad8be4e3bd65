#!/bin/sh
# Installs what `make demo`, `make test`, `make bench`, `make doc`, `make deb` or `make test-packages`
# needs and the machine lacks.
#
#   setup.sh demo|test|bench|doc|deb|packages
#
# On Debian as root, or with a sudo that asks for no password, it installs the
# packages itself; anywhere else it says what is missing and how to get it.
# With everything in place it takes a moment.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

need_build="tcl"
# The demonstration tells its user to fetch mail with curl.
need_demo="$need_build curl"
# Programs that fetch mail, for tests/clients.
need_clients="curl fetchmail getmail6 mpop mutt neomutt bsdutils"
need_test="$need_demo $need_clients tcllib tcl-tls tcl-thread python3 openssl patchelf binutils bindfs iproute2 python3-prometheus-client libsqlite3-tcl"
need_doc="tcl8.6 tcllib"
need_bench="$need_build tcllib dovecot-core dovecot-pop3d"
need_deb="$need_build debhelper dpkg-dev binutils lintian"
need_packages="debootstrap curl python3"
need_tcl9="tcl9.0 tcl9.0-thread"

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

case "${1:-}" in
    demo) need=$need_demo ;;
    test) need=$need_test ;;
    bench) need=$need_bench ;;
    doc) need=$need_doc ;;
    deb) need=$need_deb ;;
    packages) need=$need_packages ;;
    *) say "usage: setup.sh demo|test|bench|doc|deb|packages"; exit 2 ;;
esac
purpose=$1

# What the locked dependencies need, as Cargo.toml says. Debian's own is older.
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")
found=$(cargo --version 2>/dev/null | cut -d ' ' -f 2)
if [ -z "$found" ] || ! printf '%s\n' "$oldest" "$found" | sort -C -V; then
    say "Rust $oldest or newer is needed, but ${found:-none that works} was found."
    say "Install it with rustup: https://rustup.rs"
    exit 1
fi

id=unknown codename=unknown
if [ -r /etc/os-release ]; then
    id=$(. /etc/os-release; echo "${ID:-unknown}")
    codename=$(. /etc/os-release; echo "${VERSION_CODENAME:-unknown}")
fi

# Not Debian: name the programs and leave the rest to the user.
if [ "$id" != debian ] || ! have apt-get; then
    lacking=
    programs="tclsh8.6 cc"
    [ "$purpose" != test ] || programs="$programs curl python3 openssl readelf nm"
    for program in $programs; do have "$program" || lacking="$lacking $program"; done
    if [ "$purpose" = test ]; then
        have tclsh9.0 || lacking="$lacking tclsh9.0"
    fi
    if [ -n "$lacking" ]; then
        say "This is not Debian, so nothing is installed for you. Missing:$lacking"
        say "Debian's names of the packages, as a hint: $need"
        exit 1
    fi
    exit 0
fi

# The linker that cargo calls; a machine with Rust nearly always has it.
have cc || need="$need gcc libc6-dev"
# From Debian 13 on Tcl 9 is a package like any other.
if [ "$purpose" = test ] && [ "$codename" != bookworm ]; then need="$need $need_tcl9"; fi

missing=
for package in $need; do
    case "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)" in
        *" installed") ;;
        *) missing="$missing $package" ;;
    esac
done

if [ -n "$missing" ]; then
    command="apt-get install -y --no-install-recommends$missing"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif have sudo && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        say "These Debian packages are missing:$missing"
        say "Install them as root, then run make again:"
        say "    apt-get update && $command"
        exit 1
    fi
    say "installing:$missing"
    # A fresh machine has no package lists; mirrors hiccup: try thrice.
    done=no
    for attempt in 1 2 3; do
        if $as_root apt-get -q -o Acquire::Retries=3 update >&2 \
            && $as_root env DEBIAN_FRONTEND=noninteractive \
                $command -q -o Acquire::Retries=3 >&2
        then
            done=yes
            break
        fi
        say "attempt $attempt failed"
    done
    if [ "$done" = no ]; then
        say "could not install:$missing"
        exit 1
    fi
fi

if [ "$purpose" = test ] && ! have tclsh9.0; then
    "$here/tcl9.sh"
fi
