# quota.tcl - a policy in one command: opening hours, a quota of octets for each
# user and day, and mail that nobody deletes.
#
#	tclsh quota.tcl DIRECTORY PORT OCTETS
#
# Log in as alice with the password "secret"; her messages are the files in
# DIRECTORY/alice. The hook is told of each event of a session before it happens,
# and its result decides. Users and mailboxes are the built-in ones, which the
# server uses without this interpreter: nothing but the hook is called.
if {$argc != 3} {
    puts stderr "usage: tclsh quota.tcl DIRECTORY PORT OCTETS"
    exit 2
}

# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10
package require pop3d::udb
package require pop3d::dbox

lassign $argv base port quota
set hours {0 24}	;# from the first hour on, to the second
set used {}		;# user -> the day of her last message, and its octets

proc policy {event told} {
    global hours used quota
    switch -- $event {
	connect {
	    set hour [scan [clock format [clock seconds] -format %H] %d]
	    lassign $hours from to
	    if {$hour < $from || $hour >= $to} {
		# Mail clients take "service unavailable" for a reason to try again later.
		return [list reject "service unavailable: open from $from to $to o'clock" SYS/TEMP]
	    }
	}
	retrieve {
	    # TOP counts as a whole message: with enough lines it is one.
	    set user [dict get $told user]
	    set today [clock format [clock seconds] -format %Y-%m-%d]
	    set octets [dict get $told octets]
	    if {[dict exists $used $user]} {
		lassign [dict get $used $user] day before
		if {$day eq $today} {incr octets $before}
	    }
	    if {$octets > $quota} {
		return [list reject "$quota octets a day are used up" SYS/TEMP]
	    }
	    dict set used $user [list $today $octets]
	}
	delete {return {reject "nothing is deleted here" SYS/PERM}}
    }
    return	;# nothing: it happens
}

file mkdir [file join $base alice]
pop3d::udb::new users
users add alice secret alice
pop3d::dbox::new boxes
boxes base $base

pop3d::new server
server configure -auth users -storage boxes -port $port \
    -hook policy -hookevents {connect retrieve delete}
server up
vwait forever
