# dict-store.tcl - a storage of one's own: the mails are in a Tcl dict.
#
#	tclsh dict-store.tcl PORT
#
# A storage is any command that knows the methods lock, stat, size, get, dele
# and unlock. Here `get` answers {data BYTES}: the message itself.
if {$argc != 1} {
    puts stderr "usage: tclsh dict-store.tcl PORT"
    exit 2
}

# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10

namespace eval store {
    variable mail {alice {
	{From: bob@example.org\nSubject: one\n\nThe first.\n}
	{From: bob@example.org\nSubject: two\n\nThe second.\n}
    }}
    variable locked {}		;# mailbox -> its messages when it was locked

    namespace export lock stat size get dele unlock
    namespace ensemble create
}
proc store::lock {mailbox} {
    variable locked
    variable mail
    if {[dict exists $locked $mailbox]} {return 0}
    dict set locked $mailbox [lmap m [dict get $mail $mailbox] {subst -nocommands -novariables $m}]
    return 1
}
proc store::unlock {mailbox} {
    variable locked
    dict unset locked $mailbox
}
proc store::stat {mailbox} {
    variable locked
    return [llength [dict get $locked $mailbox]]
}
proc store::size {mailbox {number all}} {
    variable locked
    set messages [dict get $locked $mailbox]
    if {$number eq "all"} {return [string length [join $messages {}]]}
    return [string length [lindex $messages $number-1]]
}
proc store::get {mailbox number} {
    variable locked
    return [list data [lindex [dict get $locked $mailbox] $number-1]]
}
proc store::dele {mailbox numbers} {
    variable mail
    set messages [dict get $mail $mailbox]
    # From the end on, so that the numbers stay true.
    foreach number [lsort -integer -decreasing $numbers] {
	set messages [lreplace $messages $number-1 $number-1]
    }
    dict set mail $mailbox $messages
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
