# smtp-in.tcl - mail comes in by SMTP and goes out by POP3, without a file:
# Tcllib's smtpd delivers into a pop3d::memory.
#
#	tclsh smtp-in.tcl ?SMTPPORT POP3PORT?
#
# Without ports any free ones are taken. Only this machine is served. Mail is for
# demo@localhost; it is gone when this process ends.
if {$argc ni {0 2}} {
    puts stderr "usage: tclsh smtp-in.tcl ?SMTPPORT POP3PORT?"
    exit 2
}

# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10
package require pop3d::udb
package require pop3d::memory
package require smtpd

pop3d::udb::new users
users add demo demo demo

# A user has the mailbox of the same name.
pop3d::memory::new boxes
foreach user [users who] {boxes add $user}

# The message's lines are bytes. An error goes to the sender, as "554 Transaction failed".
proc deliver {sender recipients lines} {
    set mailboxes [lmap recipient $recipients {
	regexp {^<([^@]*)} $recipient - user
	if {![boxes exists $user]} {error "no user \"$user\" here"}
	set user
    }]
    foreach mailbox [lsort -unique $mailboxes] {
	boxes deliver $mailbox -data [join $lines \r\n]\r\n
    }
}
# Recipients are checked by `deliver`, and not by -validate_recipient: smtpd would evaluate
# the address as a part of a script.
smtpd::configure -deliver ::deliver

# smtpd reads ASCII, which is no way to keep the bytes of a message.
trace add execution smtpd::accept leave {apply {{call code result op} {
    catch {fconfigure [lindex $call 1] -encoding iso8859-1}
}}}

lassign [expr {$argc ? $argv : {0 0}}] smtpport pop3port
set smtpport [lindex [fconfigure [smtpd::start 127.0.0.1 $smtpport] -sockname] 2]

pop3d::new server
server configure -auth users -storage boxes -socket {socket -myaddr 127.0.0.1} -port $pop3port
server up

puts "SMTP at 127.0.0.1, port $smtpport; POP3 at port [server cget -port], for the user demo with the
password demo. From another terminal:

    printf 'Subject: hello\\r\\n\\r\\nIt works.\\r\\n' | curl smtp://127.0.0.1:$smtpport \\
        --mail-from you@localhost --mail-rcpt demo@localhost --upload-file -
    curl pop3://demo:demo@127.0.0.1:[server cget -port]/1

Ctrl-C ends it."
flush stdout

vwait forever
