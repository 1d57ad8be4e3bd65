#!/bin/sh
# Installs, uses and removes the packages in fresh Debian 12 and 13 roots.
#
#   packages.sh VERSION
#
# What `make deb` and `make dist` have made is tried: the .deb with what it depends on comes in
# by apt, the tarball is unpacked into a directory that Tcl searches. With each Tcl of the root
# a server is started there, and a mail is fetched by curl from here. Then the package is
# removed, and nothing of it may be left.
#
# On Debian 12 the source tarball is built, too: without a network, with nothing but make, a C
# compiler and this machine's Rust. What `make install` installs of it is used and removed.
#
# It needs root, debootstrap and curl. Roots are made from the mirrors that this machine's apt
# uses. What debootstrap made is kept in build/roots, and so are the .debs that apt has fetched;
# each run unpacks it anew.
#
# All of it happens in a mount namespace of its own: roots are in memory there, and whatever is
# mounted goes with the last process of this script, however it ends.
set -eu

version=$1
cd "$(dirname "$0")/../.."
top=$PWD
roots=$top/build/roots
deb=$(ls build/dist/tcl-pop3d_"$version"-1_*.deb 2>/dev/null | head -n 1)
tarball=build/dist/pop3d-$version-linux-x86_64.tar.gz
source=build/dist/pop3d-$version.tar.gz

say() { printf '%s\n' "$*" >&2; }
passed=0 failed=0
fail() {
    failed=$((failed + 1))
    say "FAILED   $*"
}
pass() {
    passed=$((passed + 1))
    say "ok       $*"
}

[ "$(id -u)" = 0 ] || { say "this needs root"; exit 1; }
for program in debootstrap curl unshare python3; do
    command -v "$program" >/dev/null || { say "this needs $program"; exit 1; }
done
[ -n "$deb" ] || { say "no package: run \"make deb\""; exit 1; }
for file in "$tarball" "$source"; do
    [ -f "$file" ] || { say "no $file: run \"make dist\""; exit 1; }
done
. /etc/os-release
mkdir -p "$roots"

# Again, in a namespace.
if [ -z "${PACKAGES_NAMESPACE:-}" ]; then
    PACKAGES_NAMESPACE=yes exec unshare --mount --propagation private \
        "$top/tests/tools/packages.sh" "$@"
fi
mkdir -p "$roots/live"
mount -t tmpfs -o size=6g,mode=755 tmpfs "$roots/live"

serving=
trap '[ -z "$serving" ] || kill "$serving" 2>/dev/null || true' EXIT
trap 'exit 1' INT TERM HUP

# Runs a command in the root.
in_root() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
}

# The same, but there is no network, and Rust is at /opt/rust. What it builds is not optimised:
# that takes longest, and is not what is tried.
in_root_alone() {
    env -i HOME=/root LC_ALL=C.UTF-8 PATH=/opt/rust/bin:/usr/bin:/bin:/usr/sbin:/sbin \
        CARGO_HOME=/root/cargo CARGO_NET_OFFLINE=true CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_OPT_LEVEL=0 unshare --net chroot "$root" "$@"
}

# A new root of $suite, without Tcl.
make_root() {
    base=$roots/$suite.tar
    root=$roots/live/$suite
    mkdir -p "$roots/debs-$suite/partial"
    sources=$(python3 tests/tools/apt-sources.py "$VERSION_CODENAME" "$suite")
    if [ ! -f "$base" ]; then
        mirror=$(printf '%s\n' "$sources" | sed -n 's/^URIs: //p' | head -n 1)
        say "making a root of $suite"
        debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$roots/$suite.log" 2>&1 \
            || { tail "$roots/$suite.log" >&2; return 1; }
        tar -c -C "$root" --one-file-system -f "$base.new" .
        mv "$base.new" "$base"
    else
        mkdir "$root"
        tar -x -C "$root" -f "$base"
    fi
    mount -t proc proc "$root/proc"
    mount --bind "$roots/debs-$suite" "$root/var/cache/apt/archives"
    rm -f "$root/etc/apt/sources.list"
    printf '%s\n' "$sources" > "$root/etc/apt/sources.list.d/mirror.sources"
    # No service is started in it.
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    cp tests/tools/packages.tcl "$root/root/"
}

apt() { in_root apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" >>"$roots/$suite.log" 2>&1; }

# fetch TCLSH WHAT: a mail from a server in that tclsh.
fetch() {
    rm -f "$root/root/port"
    in_root "$1" /root/packages.tcl >"$roots/$suite-$1.log" 2>&1 &
    serving=$!
    tries=0
    until [ -s "$root/root/port" ]; do
        tries=$((tries + 1))
        if [ $tries -gt 300 ] || ! kill -0 "$serving" 2>/dev/null; then
            fail "$suite, $2, $1: no server: $(tail -n 3 "$roots/$suite-$1.log")"
            return 0
        fi
        sleep 0.1
    done
    read -r port loaded < "$root/root/port"
    got=$(curl -sS --max-time 20 "pop3://demo:secret@127.0.0.1:$port/1" 2>&1 | tr -d '\r') || true
    kill "$serving" 2>/dev/null || true
    wait "$serving" 2>/dev/null || true
    serving=
    case "$got" in
        *"Subject: from a package"*"A line."*) pass "$suite, $2, $1: a mail fetched; $loaded" ;;
        *) fail "$suite, $2, $1: got \"$got\"" ;;
    esac
}

# gone WHAT FILE: none of the files that FILE names is there.
gone() {
    left=
    while read -r path; do
        [ ! -e "$root$path" ] || left="$left $path"
    done < "$2"
    case "$left" in
        '') pass "$suite, $1: removed, nothing left ($(wc -l < "$2") files)" ;;
        *) fail "$suite, $1: left$left" ;;
    esac
}

# The source tarball: built, installed, used, removed.
build_source() {
    mkdir "$root/opt/rust"
    mount --bind -o ro "$(rustc --print sysroot)" "$root/opt/rust"
    apt install make gcc libc6-dev || fail "$suite: make, gcc, libc6-dev"
    tar -x -C "$root/root" -f "$source"
    in_root find / -xdev -path /proc -prune -o -path /root -prune -o -print | sort > "$roots/before"
    run="in_root_alone make -s -C /root/pop3d-$version"
    since=$(date +%s)
    if $run build >>"$roots/$suite.log" 2>&1 && $run install >>"$roots/$suite.log" 2>&1; then
        pass "$suite, source: built and installed in $(($(date +%s) - since)) s, offline"
    else
        fail "$suite, source: $(tail -n 5 "$roots/$suite.log")"
        return 0
    fi
    fetch tclsh8.6 source
    $run uninstall >>"$roots/$suite.log" 2>&1
    in_root find / -xdev -path /proc -prune -o -path /root -prune -o ! -type d -print | sort \
        | comm -13 "$roots/before" - > "$roots/$suite.files"
    gone source "$roots/$suite.files"
    umount "$root/opt/rust"
}

for suite in trixie bookworm; do
    make_root
    tcls=tclsh8.6
    apt update || fail "$suite: apt-get update"
    cp "$deb" "$root/root/tcl-pop3d.deb"
    # What it depends on comes with it.
    if apt install /root/tcl-pop3d.deb; then
        pass "$suite, package: installed, with$(in_root dpkg-query -W -f=' ${Package} ${Version},' tcl tcllib)"
    else
        fail "$suite, package: $(grep -E '^(E|dpkg|.*Depends)' "$roots/$suite.log" | tail -n 5)"
        continue
    fi
    if [ "$suite" != bookworm ]; then
        tcls="tclsh8.6 tclsh9.0"
        apt install tcl9.0 || fail "$suite: tcl9.0"
    fi
    for tclsh in $tcls; do fetch "$tclsh" package; done
    in_root dpkg -L tcl-pop3d | while read -r path; do
        [ -d "$root$path" ] && [ "${path#*pop3d}" = "$path" ] || echo "$path"
    done > "$roots/$suite.files"
    apt purge tcl-pop3d || fail "$suite, package: apt-get purge"
    gone package "$roots/$suite.files"

    into=/usr/local/lib/tcltk
    mkdir -p "$root$into"
    tar -x -C "$root$into" -f "$tarball"
    for tclsh in $tcls; do fetch "$tclsh" tarball; done
    rm -rf "${root:?}$into/pop3d$version"
    tar -tf "$tarball" | sed "s|^|$into/|" > "$roots/$suite.files"
    gone tarball "$roots/$suite.files"
    if [ "$suite" = bookworm ]; then build_source; fi
    # And the Tcl there knows no more of it than Tcllib has.
    answer=$(echo 'puts [package vcompare [package require pop3d] 1.10]' | in_root tclsh8.6) || true
    [ "$answer" = -1 ] && pass "$suite: Tcllib's pop3d again" || fail "$suite: \"$answer\""
    umount -R "$root/proc" "$root/var/cache/apt/archives"
    rm -rf --one-file-system "$root"
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
