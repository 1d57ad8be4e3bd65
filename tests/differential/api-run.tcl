# api-run.tcl --
#
#	Evaluates the calls of api.tcl in both implementations and compares
#	results and errors.

# Where results may differ: rule -> {number text {code ours} {code Tcllib's}},
# the latter two as patterns of glob. 1 is Tcllib's interface: nothing promised there
# is touched, but Tcllib's own words or its failure to keep it.
namespace eval ::api {
    variable rules {
	internals {1 {wrong # args names Tcllib's procedures}
	    {1 {wrong # args: should be "*"}} {1 {wrong # args: should be "*"}}}
	pattern {1 {a taken name is refused: not if glob takes it for a pattern}
	    {1 {command "*" already exists, unable to create *}} {0 *}}
	no-connection {1 {conn state of no connection: Tcllib's text is of an array}
	    {1 *} {1 {can't read "conn(nobody)": no such element in array}}}
	read-keeps {11 {a read that fails changes nothing}
	    {0 {b jörg more {two words}}} {0 {}}}
	read-half {11 {a read that fails half-way changes nothing}
	    {0 {b jörg more {two words} x}} {0 a}}
	texts {11 {files are written otherwise: the same text of the system}
	    {1 {couldn't *: no such file or directory}} {1 {couldn't open *: no such file or directory}}}
	bracket-path {11 {brackets in paths} {0 1} {0 0}}
	outside-add {11 {names outside of the base directory}
	    {1 {cannot add "../outside", not a name within the base directory}} {0 {}}}
	outside-made {11 {nothing is made there} {0 0} {0 1}}
	outside-lock {11 {nor locked} {1 {"../outside" does not exist}} {0 1}}
	outside-remove {11 {nor removed} {1 {cannot remove "../outside", mailbox does not exist}}
	    {1 {cannot remove "../outside", mailbox is locked}}}
	subdirectory {11 {sub-directories are no messages} {0 1} {0 2}}
    }
    variable used
    array set used {}
}

# api::start --
#
#	A process for each side, with what the calls use.

proc ::api::start {} {
    set sides {}
    foreach side {ours tcllib} {
	set dir [file join [::support::tempdir] base]
	file mkdir $dir
	dict set sides $side [::child::start [string map [list @DIR@ [list $dir]] {
	    encoding system utf-8
	    log::lvSuppressLE emergency
	    set dir @DIR@
	    proc write {path bytes} {
		set channel [open $path wb]
		puts -nonewline $channel $bytes
		close $channel
	    }
	    proc call {script} {
		set code [catch {uplevel #0 $script} result]
		return [list $code [string map [list $::dir DIR] $result]]
	    }
	}] {} $side]
    }
    return $sides
}

# api::compare --
#
#	Evaluates calls on both sides.
#
# Results:
#	What was wrong, a line or more for each call.

proc ::api::compare {calls} {
    variable rules
    variable used
    set sides [start]
    set faults {}
    foreach call $calls {
	lassign $call script rule
	foreach {side pipe} $sides {
	    set $side [::child::evaluate $pipe [list call $script]]
	}
	if {$ours eq $tcllib} continue
	if {$rule eq {}} {
	    lappend faults "$script\n   ours:   $ours\n   Tcllib: $tcllib"
	    continue
	}
	incr used($rule)
	lassign [lrange [dict get $rules $rule] 2 3] want-ours want-tcllib
	foreach side {ours tcllib} {
	    set pattern [set want-$side]
	    if {[lindex [set $side] 0] ne [lindex $pattern 0]
		    || ![string match [lindex $pattern 1] [lindex [set $side] 1]]} {
		lappend faults "$script: not as rule $rule says\n   $side: [set $side]"
	    }
	}
    }
    foreach {side pipe} $sides {
	::child::stop $pipe
    }
    return $faults
}
