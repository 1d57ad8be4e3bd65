# trace.tcl --
#
#	The callbacks that dialogs lead to: their words, level and namespace,
#	recorded by the same procedures in both servers.

# Dialogs of one connection, with the calls that only ours makes: patterns of
# them, each to be met. UIDL is number 5 of the differences, to ask for the
# sizes of marked messages number 4.
namespace eval ::trace-run {
    variable unlocks 0		;# of what was not locked
    variable dialogs {
	{{USER al} {PASS pw} QUIT} {}
	{{USER al} {PASS wrong} QUIT} {}
	{{USER nobody} {PASS pw} {USER al} {PASS pw} STAT QUIT} {}
	{{USER al} {PASS pw} LIST QUIT} {}
	{{USER al} {PASS pw} {LIST 1} {LIST 2} {LIST 3} QUIT} {}
	{{USER al} {PASS pw} {RETR 1} {RETR 2} QUIT} {}
	{{USER al} {PASS pw} {DELE 2} {DELE 1} QUIT} {}
	{{USER al} {PASS pw} {DELE 2} RSET QUIT} {}
	{{USER al} {PASS pw} {DELE 2} RSET {DELE 1} QUIT} {}
	{{USER al} {PASS pw} NOOP STAT {RETR 9} {LIST x} QUIT} {}
	{{USER busy} {PASS pw} {USER al} {PASS pw} QUIT} {}
	{{USER nobox} {PASS pw} QUIT} {}
	{{USER al} {PASS pw} {DELE 1}} {}
	{{USER al} {PASS pw} QUIT QUIT} {}
	{CAPA STAT NOOP QUIT} {}
	{{USER al} {PASS pw} UIDL QUIT} {{store {[x]} uidl box*} {store {[x]} get box *}}
	{{USER al} {PASS pw} {DELE 2} STAT QUIT} {{store {[x]} size box 2 *}}
    }
    variable prelude {
	log::lvSuppressLE emergency
	set trace {}
	namespace eval ::elsewhere {}
	proc note {kind words} {
	    lappend ::trace [list $kind {*}$words level [expr {[info level] - 1}] [uplevel 2 {namespace current}]]
	}
	proc auth {extra method args} {
	    note auth [list $extra $method {*}$args]
	    switch -- $method {
		exists {return [expr {[lindex $args 0] ne "nobody"}]}
		lookup {return [list pw [dict get {al box busy taken nobox {}} [lindex $args 0]]]}
	    }
	    error "unknown method \"$method\""
	}
	proc store {extra method args} {
	    note store [list $extra $method {*}$args]
	    switch -- $method {
		lock {return [expr {[lindex $args 0] ne "taken"}]}
		stat {return 2}
		size {return 30}
		get {return [mime::initialize -string "Subject: x\n\nhello\n"]}
		dele - unlock return
	    }
	    error "unknown method \"$method\""
	}
	pop3d::new srv
	srv configure -port 0 -auth {::auth {an extra}} -storage {::store [x]}
	if {[support::ours]} {srv configure -logindelay 0 -mechanisms {} -addressfailures 0}
	srv up
    }
}

# trace-run::start --
#
#	The two processes, and their ports.

proc ::trace-run::start {} {
    variable prelude
    variable child
    variable port
    foreach side {ours tcllib} {
	set child($side) [::child::start $prelude {} $side]
	set port($side) [::child::evaluate $child($side) {srv cget -port}]
    }
}

proc ::trace-run::stop {} {
    variable child
    foreach side {ours tcllib} {
	::child::stop $child($side)
    }
}

# trace-run::calls --
#
#	The callbacks of a side for a dialog, a line each.

proc ::trace-run::calls {side steps} {
    variable child
    variable port
    ::child::evaluate $child($side) {set ::trace {}}
    set socket [::client::open $port($side)]
    ::client::line $socket
    foreach step $steps {
	# After QUIT the connection closes.
	if {[catch {::client::talk $socket $step}]} break
    }
    ::client::close $socket
    set end [expr {[clock milliseconds] + 5000}]
    while {[llength [::child::evaluate $child($side) {srv conn list}]]
	    && [clock milliseconds] < $end} {}
    return [::child::evaluate $child($side) {set ::trace}]
}

# trace-run::compare --
#
#	Results: what differs, else nothing. Tcllib calls `unlock` with an
#	empty mailbox, or for one that it has not locked, when a session ends
#	that had no mailbox: rule `unlock`, number 3 (one unlock per lock).

proc ::trace-run::compare {steps only} {
    variable unlocks
    set ours [calls ours $steps]
    if {![llength $ours] && [string match *PASS* $steps]} {
	return "nothing was called"
    }
    foreach pattern $only {
	set pattern [string map {\[ \\[ \] \\]} $pattern]
	if {![llength [lsearch -all $ours $pattern]]} {
	    return "no call matches $pattern:\n  [join $ours "\n  "]"
	}
	set ours [lsearch -all -inline -not $ours $pattern]
    }
    set tcllib [calls tcllib $steps]
    set kept {}
    set locked 0
    foreach call $tcllib {
	set method [lindex $call 2]
	if {$method eq "unlock" && !$locked} {
	    incr unlocks
	    continue
	}
	incr locked [expr {$method eq "stat"}]
	lappend kept $call
    }
    if {$ours ne $kept} {
	return "ours:\n  [join $ours "\n  "]\nTcllib:\n  [join $tcllib "\n  "]"
    }
    return {}
}
