# play.tcl --
#
#	Plays dialogs with both servers, each in a process of its own, and
#	compares every answer with both models.
#
#	A dialog is a list of steps:
#	  LINE			sent by connection `a`, with CRLF
#	  {> b LINE}		the same by another connection, opened when needed
#	  {burst LINE ...}	sent by `a` in one go
#	  {slow LINE}		sent by `a` byte by byte
#	  {lf LINE}		ended by LF alone; must be the last
#	  {drop a}		the client closes
#	In lines, %SECRET% stands for the digest of APOP, %^SECRET% for the
#	same in upper case.

namespace eval ::play {
    variable child		;# side -> process
    variable port		;# side -> port
    variable socket		;# side,connection -> channel
    variable stamp		;# side,connection -> time stamp of the greeting
    variable bytes		;# channel -> what has arrived
    variable ended		;# channel -> whether the server has closed
    variable ready 0
    variable faults {}		;# what was wrong in the dialog at hand
    variable base		;# side -> base directory of the mailboxes
    variable boxes		;# mailboxes of the dialog at hand
    variable answers 0		;# pairs of answers compared
    variable quiet 60		;# ms without an answer, after the server was idle
}

# play::start --
#
#	Starts the server processes that are not running.

proc ::play::start {} {
    variable child
    foreach side {ours tcllib} {
	if {[info exists child($side)]} continue
	set child($side) [::child::start {
	    # The same names on the wire whatever the locale is.
	    encoding system utf-8
	    log::lvSuppressLE emergency
	    proc fixture {base users} {
		foreach command {srv users boxes} {
		    if {[llength [info commands ::$command]]} {$command destroy}
		}
		set ::support::bgerrors {}
		pop3d::udb::new users
		pop3d::dbox::new boxes
		pop3d::new srv
		boxes base $base
		dict for {user account} $users {
		    users add $user {*}$account
		}
		srv configure -port 0 -auth users -storage boxes
		if {[support::ours]} {
		    # AUTH is unknown to Tcllib's; its dialogs are those of auth.test. Failures
		    # of a whole run would have the address refused.
		    srv configure -logindelay 0 -mechanisms {} -addressfailures 0
		}
		srv up
		return [srv cget -port]
	    }
	} {} $side]
    }
}

proc ::play::stop {} {
    variable child
    foreach {side pipe} [array get child] {
	::child::stop $pipe
    }
    array unset child
}

# play::dialog --
#
#	Plays one dialog from its beginning.
#
# Results:
#	A list of what was wrong; empty if all was as it must be.

proc ::play::dialog {steps} {
    variable faults {}
    variable child
    variable port
    variable base
    variable socket
    start
    variable boxes [::world::needed $steps]
    ::expect::reset $boxes
    set dir [::support::tempdir]
    foreach side {ours tcllib} {
	set base($side) [::world::make [file join $dir $side] $boxes]
	set port($side) [::child::evaluate $child($side) \
		[list fixture $base($side) $::world::users]]
    }
    foreach step $steps {
	if {[catch {Step $step} message options]} {
	    lappend faults "in \"[string range $step 0 80]\": $message\n[dict get $options -errorinfo]"
	    break
	}
    }
    foreach name [array names socket ours,*] {
	Drop [lindex [split $name ,] 1]
    }
    Aftermath
    file delete -force $dir
    return $faults
}

proc ::play::Step {step} {
    switch -- [lindex [split $step] 0] {
	burst {Lines a [lrange $step 1 end] burst}
	slow {Lines a [lrange $step 1 end] slow}
	lf {Lf [lindex $step 1]}
	drop {Drop [lindex $step 1]}
	> {Lines [lindex $step 1] [lrange $step 2 2] line}
	default {Lines a [list $step] line}
    }
}

# Sends lines, and compares what comes back for each.
proc ::play::Lines {conn lines how} {
    variable socket
    if {![info exists socket(ours,$conn)]} {
	Connect $conn
    }
    set expected [lmap line $lines {::expect::answers $conn $line}]
    ::expect::quit $conn
    foreach side {ours tcllib} index {0 1} {
	set text [join [lmap line $lines {string cat [Digests $side $conn $line] \r\n}] {}]
	Send $side $conn [encoding convertto utf-8 $text] [expr {$how eq "slow"}]
	set got($side) [lmap three $expected {
	    Take $side $conn [Octets [lindex $three $index]]
	}]
    }
    foreach line $lines three $expected o $got(ours) t $got(tcllib) {
	Compare $conn $line $three $o $t
    }
    Ends $conn
}

# The bytes of an answer of a model.
proc ::play::Octets {answer} {
    return [lset answer 0 [encoding convertto utf-8 [lindex $answer 0]]]
}

proc ::play::Compare {conn line three o t} {
    variable faults
    variable answers
    lassign $three ours tcllib because
    incr answers
    foreach {side want got} [list ours $ours $o tcllib $tcllib $t] {
	if {[Octets $want] ne $got} {
	    lappend faults "$conn \"[string range $line 0 80]\"\n   $side:   $got\n   expected: [Octets $want]"
	}
    }
    if {$o ne $t} {
	if {![llength $because]} {
	    lappend faults "$conn \"$line\": no rule explains\n   ours:   $o\n   Tcllib: $t"
	}
	::rules::explains $because
    }
}

# Connections that must be closed by now are, and say nothing more.
proc ::play::Ends {conn} {
    variable faults
    variable socket
    foreach side {ours tcllib} {
	if {[set ::expect::${side}-${conn}(phase)] ne "over"} continue
	set rest [Take $side $conn CLOSED]
	if {$rest ne "CLOSED"} {
	    lappend faults "$conn: $side goes on after its end: $rest"
	}
    }
}

# A line that ends with LF alone is none for Tcllib.
proc ::play::Lf {line} {
    variable socket
    if {![info exists socket(ours,a)]} {
	Connect a
    }
    set ours [::expect::ours a $line]
    foreach side {ours tcllib} {
	Send $side a $line\n 0
    }
    Compare a $line [list $ours SILENT lf] [Take ours a [Octets $ours]] [Take tcllib a SILENT]
}

# After all clients have gone.
proc ::play::Aftermath {} {
    variable child
    variable base
    variable boxes
    variable faults
    foreach side {ours tcllib} {
	set stuck [expr {$side eq "tcllib" ? [::expect::stuck] : 0}]
	set keep [lmap box $boxes {
	    if {![::expect::Held $side $box]} continue
	    set box
	}]
	# A closing connection may take a moment.
	set want [list $stuck $keep]
	set end [expr {[clock milliseconds] + 5000}]
	while 1 {
	    set got [::child::evaluate $child($side) [string map [list @BOXES@ [list $boxes]] {
		list [llength [srv conn list]] [lmap box @BOXES@ {
		    if {![boxes locked $box]} continue
		    set box
		}]
	    }]]
	    if {$got eq $want || [clock milliseconds] > $end} break
	    after 10
	}
	if {$got ne $want} {
	    lappend faults "$side: connections and locks left: $got, expected: $want"
	}
	foreach box $boxes {
	    set files [::world::files $base($side) $box]
	    if {$files ne $::expect::left($side,$box)} {
		lappend faults "$side: left in $box: $files, expected: $::expect::left($side,$box)"
	    }
	}
    }
    foreach box $boxes {
	if {$::expect::left(ours,$box) ne $::expect::left(tcllib,$box)} {
	    set because [concat {*}[dict values $::expect::cause]]
	    if {![llength $because]} {
		lappend faults "no rule explains what is left in $box"
	    }
	}
    }
    set errors [::child::evaluate $child(ours) {support::expected}]
    if {[llength $errors]} {
	lappend faults "ours: background errors: $errors"
    }
}
