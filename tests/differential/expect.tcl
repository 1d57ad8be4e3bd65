# expect.tcl --
#
#	What each side is to answer, line by line: two models of a session.
#
#	ours-CONNECTION and tcllib-CONNECTION (arrays):
#	  phase		auth, trans, over (closed), deaf (reads no more), update
#	  quit		QUIT has come (Tcllib, which reads on)
#	  named		USER has come (ours); name: the user named last
#	  mailbox, msgs	what was opened: its name and list of file names
#	  marked	message numbers, for Tcllib as they were spelt
#
#	An answer is a list: the line, and for a long one the text; or CLOSED
#	or SILENT; or a line and CLOSED for a text that breaks off.

namespace eval ::expect {
    variable because {}		;# rules that the line at hand falls under
    variable cause {}		;# connection -> rules by which the sides came apart
    variable held		;# side,mailbox -> connection that has the lock
    variable left		;# side,mailbox -> list of files
    variable directory 0	;# what `file size` says of a directory
    array set held {}
    array set left {}
}

# expect::reset --
#
#	Forgets everything: a new dialog, with these mailboxes.

proc ::expect::reset {boxes} {
    variable held
    variable left
    variable cause {}
    array unset held
    array unset left
    foreach name [info vars ::expect::ours-*] {unset $name}
    foreach name [info vars ::expect::tcllib-*] {unset $name}
    foreach box $boxes {
	set files [dict get $::world::mail $box]
	set left(ours,$box) [lsearch -all -inline -not [lsort [dict keys $files]] .*]
	set left(tcllib,$box) $left(ours,$box)
    }
}

# expect::because --
#
#	The sides part here, by a rule of rules.tcl. `lasting`: their states
#	are no longer the same, so that later answers may differ as well.

proc ::expect::because {rule {lasting 0}} {
    variable because
    variable cause
    variable connection
    if {![dict exists $::rules::rules $rule]} {
	error "there is no rule \"$rule\""
    }
    lappend because $rule
    if {$lasting} {
	dict lappend cause $connection $rule
    }
}

# expect::connect, expect::drop --
#
#	A connection is opened, or dropped by the client.

proc ::expect::connect {connection} {
    upvar #0 ::expect::ours-$connection o ::expect::tcllib-$connection t
    variable cause
    dict set cause $connection {}
    array set o {phase auth named 0 name {} mailbox {} msgs {} marked {} errors 0 failed 0}
    array set t {phase auth quit 0 logon {} name {} mailbox {} msgs {} marked {}}
}

proc ::expect::drop {connection} {
    upvar #0 ::expect::ours-$connection o ::expect::tcllib-$connection t
    Release ours $connection
    set o(phase) over
    # What no longer reads does not see the end either.
    if {$t(phase) ne "deaf"} {
	Release tcllib $connection
	set t(phase) over
    }
}

# expect::stuck --
#
#	How many connections Tcllib keeps though their clients have gone.

proc ::expect::stuck {} {
    set stuck 0
    foreach name [info vars ::expect::tcllib-*] {
	incr stuck [expr {[set ${name}(phase)] eq "deaf"}]
    }
    return $stuck
}

# expect::answers --
#
#	What both sides answer to a line.
#
# Results:
#	Our answer, Tcllib's answer, rules by which they may differ.

proc ::expect::answers {conn line} {
    variable because {}
    variable cause
    variable connection $conn
    set ours [ours $conn $line]
    set tcllib [tcllib $conn $line]
    # What one connection did may show in another: locks, deletions.
    if {![llength $because]} {
	set because [concat [dict get $cause $conn] {*}[dict values $cause]]
    }
    return [list $ours $tcllib $because]
}

# Locks and files of a side. -------------------------------------------------------

proc ::expect::Held {side mailbox} {
    variable held
    return [info exists held($side,$mailbox)]
}

proc ::expect::Open {side conn mailbox} {
    variable held
    variable left
    upvar #0 ::expect::$side-$conn m
    set held($side,$mailbox) $conn
    set m(mailbox) $mailbox
    set m(phase) trans
    set m(marked) {}
    set m(msgs) $left($side,$mailbox)
}

proc ::expect::Release {side conn} {
    variable held
    upvar #0 ::expect::$side-$conn m
    # Tcllib unlocks whatever the connection names, though another has it.
    if {$m(mailbox) ne {}} {
	unset -nocomplain held($side,$m(mailbox))
    }
}

proc ::expect::Delete {side mailbox files} {
    variable left
    set left($side,$mailbox) [lmap file $left($side,$mailbox) {
	if {$file in $files} continue
	set file
    }]
}

proc ::expect::Size {mailbox file} {
    # A directory is a message only to Tcllib.
    if {[string match *-directory $file]} {
	variable directory
	return $directory
    }
    return [string length [dict get $::world::mail $mailbox $file]]
}

proc ::expect::Sum {sizes} {
    return [expr [join [linsert $sizes 0 0] +]]
}
