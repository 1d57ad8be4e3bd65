# timer.tcl --
#
#	A timer that notices when the event loop of its process is held up, for
#	tests which say that a script's timers keep their time whatever the
#	server does. Only what the process does itself counts: on a machine with
#	other work no timer can fire while the process could run, but others do.

namespace eval ::timer {
    # Milliseconds from one turn to the next.
    variable period 5
    variable turns 0
    variable latest 0
    variable pending {}
    variable due		;# when the next turn should be, in milliseconds
    variable waited		;# what kept_waiting said when that was set
}

# timer::kept_waiting --
#
#	Milliseconds for which threads of a process could have run, but others
#	did (proc(5)); 0 where the system does not count them.
#
# Arguments:
#	pid	the process, by default this one
#	name	of the threads, by default only the first one, which is the one
#		of the interpreter

proc ::timer::kept_waiting {{pid self} {name {}}} {
    set sum 0
    if {$name eq {}} {
	set tasks [list /proc/$pid]
    } else {
	set tasks [glob -directory /proc/$pid/task *]
    }
    foreach task $tasks {
	if {($name eq {} || [::support::slurp $task/comm] eq "$name\n")
		&& [file exists $task/schedstat]} {
	    incr sum [lindex [::support::slurp $task/schedstat] 1]
	}
    }
    return [expr {$sum / 1e6}]
}

# timer::start --
#
#	Starts the timer, or begins anew to look.

proc ::timer::start {} {
    variable turns 0
    variable latest 0
    Arm
}

# timer::stop --
#
#	Stops the timer.

proc ::timer::stop {} {
    variable pending
    after cancel $pending
}

# timer::turns --
#
#	How often it had its turn since `start`.

proc ::timer::turns {} {
    variable turns
    return $turns
}

# timer::latest --
#
#	The most milliseconds by which a turn since `start` was late, without
#	those for which the interpreter's thread was kept waiting by others.

proc ::timer::latest {} {
    variable latest
    Look
    return [expr {round($latest)}]
}

proc ::timer::Arm {} {
    variable period
    variable pending
    variable due
    variable waited
    after cancel $pending
    set waited [kept_waiting]
    set due [expr {[clock milliseconds] + $period}]
    set pending [after $period ::timer::Turn]
}

proc ::timer::Turn {} {
    variable turns
    incr turns
    Look
    Arm
}

# How late the turn that is due is so far.
proc ::timer::Look {} {
    variable latest
    variable due
    variable waited
    set late [expr {[clock milliseconds] - $due - ([kept_waiting] - $waited)}]
    set latest [expr {max($late, $latest)}]
}
