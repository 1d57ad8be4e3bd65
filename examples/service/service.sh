#!/bin/sh
# Runs service.tcl, and tells it of signals, which Tcl does not take by itself:
#
#	SIGHUP	reload users and certificates
#	SIGTERM, SIGINT	end with the last session, or after half a minute
#
#	service.sh CONFIG
set -eu

here=$(cd "$(dirname "$0")" && pwd)
pipe=$(mktemp -d "${TMPDIR:-/tmp}/pop3d.XXXXXX")
mkfifo -m 600 "$pipe/commands"
# Open for both: neither end waits for the other.
exec 9<>"$pipe/commands"
rm -r "$pipe"

"${TCLSH:-tclsh}" "$here/service.tcl" "$@" <&9 9>&- &
service=$!
trap 'echo reload >&9' HUP
trap 'echo stop >&9' TERM INT

# A signal ends `wait`, not the service.
status=0
while :; do
    wait "$service" && status=0 || status=$?
    kill -0 "$service" 2>/dev/null || break
done
exit "$status"
