# demo.tcl - a POP3 server with one user and a few mails, to try things out.
#
#	tclsh examples/demo.tcl ?PORT?
#
# `make demo` builds the extension and runs this. The mails are made afresh
# in a temporary directory, which goes away at the end.

# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10
package require pop3d::udb
package require pop3d::dbox

# Three mails in the mailbox "inbox": a mailbox is a directory, a mail a file.
set base [file join [expr {[info exists env(TMPDIR)] ? $env(TMPDIR) : "/tmp"}] pop3d-demo-[pid]]
file mkdir $base/inbox
# However this process ends, its end of this pipe closes, and the mails go away.
open |[list sh -c {trap "" INT TERM HUP; cat >/dev/null; rm -rf "$1"} cleaner $base] w
foreach {number subject text} {
    1 "Welcome" "This message was stored by a Tcl script\nand is served by Rust."
    2 "A line that is only a dot" "Before the dot\n.\nAfter the dot"
    3 "Delete me" "Send DELE 3 and QUIT, and this file is gone."
} {
    set file [open $base/inbox/$number w]
    puts $file "From: demo@example.org\nTo: you@example.org\nSubject: $subject\n\n$text"
    close $file
}

pop3d::udb::new users
users add demo demo inbox

pop3d::dbox::new boxes
boxes base $base

pop3d::new server
server configure -auth users -storage boxes -socket {socket -myaddr 127.0.0.1} \
    -port [expr {$argc ? [lindex $argv 0] : 0}]
server up

set port [server cget -port]
puts "A POP3 server of [package present pop3d] on Tcl [info patchlevel] at 127.0.0.1, port $port.
The user is demo, the password is demo. From another terminal:

    curl pop3://demo:demo@127.0.0.1:$port/        list the mails
    curl pop3://demo:demo@127.0.0.1:$port/1       fetch the first

Ctrl-C ends it."
flush stdout

vwait forever
