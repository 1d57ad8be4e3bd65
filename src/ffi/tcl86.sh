#!/bin/sh
# Writes tcl86.rs anew: what Tcl 8.6's tcl.h declares, without what depends
# on the system's own headers. Needs Debian's packages bindgen and tcl8.6-dev.
#
# The stub table has every function of 8.6, and functions are never taken out of it, so
# nothing here changes with the Tcl that the package is built or used with.
set -eu
cd "$(dirname "$0")"

# Types that contain the system's.
types='Tcl_Stat_|stat|utimbuf|va_list|__builtin_va_list|__va_list_tag|mp_int|Tcl_StatBuf|Tcl_OldStat_'
types="$types|Tcl_StatProc_?|Tcl_FS(Stat|Lstat|Utime)Proc|Tcl_Filesystem"
# Functions that take them.
functions='Tcl_(FS)?(Stat|Lstat|Utime)|Tcl_AllocStatBuf|Tcl_Get.*FromStat|Tcl_.*Bignum.*|Tcl_.*VA'
functions="$functions|Tcl_FS(Register|Unregister|Data|MountsChanged|NewNativePath|GetInternalRep)"
functions="$functions|Tcl_FSGetFileSystemForPath|Tcl_DumpActiveMemory"

bindgen "${1:-/usr/include/tcl8.6/tcl.h}" --no-layout-tests --no-doc-comments \
    --allowlist-function 'Tcl_.*|TclFreeObj' --allowlist-type 'Tcl_.*|ClientData' \
    --allowlist-var 'TCL_.*' \
    --blocklist-type "$types" --blocklist-function "$functions" \
    --raw-line '// Written by tcl86.sh. It is no module of this crate: the crate clib is made of it' \
    --raw-line '// (crates/inwelling).' --output tcl86.rs
