# dict-store.tcl - a storage of one's own: the mails are in a Tcl dict.
#
#	tclsh dict-store.tcl PORT
#
# A storage is any command that knows the methods lock, stat, size, get, dele and
# unlock, and best uidl. Here `get` answers {data BYTES}: the message itself.
if {$argc != 1} {
    puts stderr "usage: tclsh dict-store.tcl PORT"
    exit 2
}

# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10

namespace eval store {
    variable mail		;# mailbox -> unique id -> message
    dict set mail alice 1 "From: bob@example.org\r\nSubject: one\r\n\r\nThe first.\r\n"
    dict set mail alice 2 "From: bob@example.org\r\nSubject: two\r\n\r\nThe second.\r\n"
    # mailbox -> the ids that its session numbers from 1. What is added to `mail`
    # meanwhile waits for the next session.
    variable locked {}

    namespace export lock stat size get uidl dele unlock
    namespace ensemble create
}
# One session at a time: 0 says that another one has the mailbox.
proc store::lock {mailbox} {
    variable locked
    variable mail
    if {[dict exists $locked $mailbox]} {return 0}
    dict set locked $mailbox [dict keys [dict get $mail $mailbox]]
    return 1
}
proc store::unlock {mailbox} {
    variable locked
    dict unset locked $mailbox
}
proc store::stat {mailbox} {
    return [llength [uidl $mailbox]]
}
# The ids of all messages, or of one.
proc store::uidl {mailbox {number {}}} {
    variable locked
    set ids [dict get $locked $mailbox]
    return [expr {$number eq {} ? $ids : [lindex $ids $number-1]}]
}
proc store::size {mailbox {number {}}} {
    variable mail
    set size 0
    foreach id [uidl $mailbox $number] {
	incr size [string length [dict get $mail $mailbox $id]]
    }
    return $size
}
proc store::get {mailbox number} {
    variable mail
    return [list data [dict get $mail $mailbox [uidl $mailbox $number]]]
}
proc store::dele {mailbox numbers} {
    variable mail
    foreach number $numbers {
	dict unset mail $mailbox [uidl $mailbox $number]
    }
}

# Users can be a command as well: `exists NAME`, and `lookup NAME` for the
# password and the mailbox.
namespace eval users {
    namespace export exists lookup
    namespace ensemble create
}
proc users::exists {name} {return [expr {$name eq "alice"}]}
proc users::lookup {name} {return {secret alice}}

pop3d::new server
server configure -auth ::users -storage ::store -port [lindex $argv 0]
server up
vwait forever
