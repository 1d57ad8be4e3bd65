# archive.tcl - a gateway to an archive: every directory below a base is a
# mailbox that can be read by POP3 and from which nothing is ever deleted.
#
#	tclsh archive.tcl DIRECTORY PORT
#
# The user is the name of the directory, the password "archive". `get` answers
# {file PATH}: the server streams the file itself, without reading it into Tcl.
if {$argc != 2} {
    puts stderr "usage: tclsh archive.tcl DIRECTORY PORT"
    exit 2
}

# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10

set base [lindex $argv 0]
set snapshot {}		;# mailbox -> its files, while sessions read it
set readers {}		;# mailbox -> number of these sessions

proc archive {method mailbox args} {
    global base snapshot readers
    switch -- $method {
	lock {
	    # Sessions that overlap share what the first of them has found: within a
	    # session a number must mean one message. New files wait for the next.
	    if {![dict exists $snapshot $mailbox]} {
		dict set snapshot $mailbox \
		    [lsort [glob -nocomplain -types f -directory [file join $base $mailbox] *]]
	    }
	    dict incr readers $mailbox
	    return 1
	}
	stat {return [llength [dict get $snapshot $mailbox]]}
	size {
	    # Of one message, or of all.
	    set files [dict get $snapshot $mailbox]
	    if {[llength $args]} {set files [list [lindex $files [lindex $args 0]-1]]}
	    return [tcl::mathop::+ {*}[lmap file $files {file size $file}]]
	}
	get {return [list file [lindex [dict get $snapshot $mailbox] [lindex $args 0]-1]]}
	dele {throw {POP3D MAILBOX UNUSABLE} "the archive is read-only"}
	unlock {
	    dict incr readers $mailbox -1
	    if {[dict get $readers $mailbox] == 0} {dict unset snapshot $mailbox}
	}
	default {error "unknown method \"$method\""}
    }
}

proc readers {method name} {
    global base
    # A user's name becomes a path: let nobody out of the base directory.
    set known [expr {[regexp {^\w[\w.-]*$} $name] && [file isdirectory [file join $base $name]]}]
    switch -- $method {
	exists {return $known}
	lookup {return [list archive $name]}
    }
}

pop3d::new server
server configure -auth readers -storage archive -port [lindex $argv 1]
server up
vwait forever
