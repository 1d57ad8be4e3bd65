# client-test.tcl - a test bed for a mail client, here curl: a server in memory for it, its
# commands watched, its connection cut in the middle of a message, its work judged.
#
#	tclsh client-test.tcl ?CURL?
#
# CURL is the program. Prints what has passed and what not; exits with 1 if anything failed.
if {$argc > 1} {
    puts stderr "usage: tclsh client-test.tcl ?CURL?"
    exit 2
}
set curl [expr {$argc ? [lindex $argv 0] : "curl"}]

# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10
package require pop3d::udb
package require pop3d::memory

pop3d::udb::new users
users add demo secret inbox
pop3d::memory::new boxes
boxes add inbox
pop3d::new server
server configure -auth users -storage boxes -socket {socket -myaddr 127.0.0.1} -port 0 \
    -hook watch -hookevents {command retrieve}
server up
set url pop3://127.0.0.1:[server cget -port]

# Notes each command in `said`, and does to a message that is fetched what `fault` says.
set fault {}
proc watch {event details} {
    if {$event eq "retrieve"} {return $::fault}
    lappend ::said [join [list [dict get $details verb] {*}[dict get $details arguments]]]
    return
}

# Runs the client, and serves it meanwhile. Returns its exit status and what it printed.
proc client {args} {
    set ::said {}
    set ::printed {}
    set pipe [open |[list $::curl --silent --max-time 20 --user demo:secret {*}$args] rb]
    fconfigure $pipe -blocking 0
    fileevent $pipe readable {append printed [read $pipe]; if {[eof $pipe]} {set done 1}}
    set ::pipe $pipe
    vwait ::done
    fconfigure $pipe -blocking 1
    set failed [catch {close $pipe} message options]
    # The session ends with its client, and with it the lock of the mailbox.
    while {[llength [server conn list]]} {
	after 10 {set tick 1}
	vwait tick
    }
    return [list [expr {$failed ? [lindex [dict get $options -errorcode] end] : 0}] $::printed]
}

set failures 0
proc check {what passed} {
    puts "[expr {$passed ? "passed" : "FAILED"}]: $what"
    incr ::failures [expr {!$passed}]
}

set mail "From: a@example.org\r\nSubject: hello\r\n\r\n.A dot first.\r\n.\r\n"
boxes deliver inbox -data $mail

lassign [client $url/1] status printed
check "fetches the message, byte for byte" [expr {$status == 0 && $printed eq $mail}]
check "ends its session properly" [expr {[lrange $said end-1 end] eq {{RETR 1} QUIT}}]
check "deletes nothing unasked" [expr {[lsearch $said DELE*] < 0 && [llength [boxes messages inbox]] == 1}]

lassign [client --head --request {DELE 1} $url/] status
check "deletes the message when told" [expr {$status == 0 && [boxes messages inbox] eq {}}]

set mail [string repeat "A line of a long message.\r\n" 10000]
boxes deliver inbox -data $mail
set fault {cut 100000}
lassign [client $url/1] status printed
check "has no more than was sent when it is cut off" [expr {"RETR 1" in $said
    && [string length $printed] <= 100000 && [string equal -length [string length $printed] $printed $mail]}]
check "and leaves the message where it is" [expr {[llength [boxes messages inbox]] == 1}]
# A mailer must know: curl 7.88 says 0 here, as if it had the whole message.
puts "noted: its exit status is then $status"
set fault {}
lassign [client $url/1] status printed
check "fetches all of it the next time" [expr {$status == 0 && $printed eq $mail}]

exit [expr {$failures > 0}]
