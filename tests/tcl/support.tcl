# support.tcl --
#
#	What every test file of the Tcl side begins with: the choice of the
#	implementation under test, `check` and `better` (tests that cannot
#	pass without asserting), bounded waits, temporary files.
#
#	client.tcl (a raw POP3 client), child.tcl (another process) and
#	fixture.tcl (a server with users and mail) come with it.
#
#	Environment: POP3D_IMPL is `ours` (default) or `tcllib`; POP3D_DIR is
#	where our pkgIndex.tcl is, by default the top of the checkout.

package require Tcl 8.6-
package require tcltest 2.3

namespace eval ::support {
    variable here [file dirname [file normalize [info script]]]
    variable root [file dirname [file dirname $here]]
    variable directory $root
    if {[info exists ::env(POP3D_DIR)]} {
	set directory $::env(POP3D_DIR)
    }
    variable implementation ours
    if {[info exists ::env(POP3D_IMPL)]} {
	set implementation $::env(POP3D_IMPL)
    }
    if {$implementation ni {ours tcllib}} {
	error "POP3D_IMPL is \"$implementation\": must be ours, or tcllib"
    }

    # How long a wait may take, in milliseconds: generous, as a wait ends
    # as soon as its condition holds, and the machine may be busy.
    variable patience 20000

    variable bgerrors {}
    variable tick 0
    variable temporary {}
    variable counter 0

    namespace export check better await tempdir write slurp ours plain
}

# support::ours --
#
#	Whether our extension is under test (else Tcllib's pop3d is).

proc ::support::ours {} {
    variable implementation
    return [expr {$implementation eq "ours"}]
}

# support::use --
#
#	Loads the packages under test, and proves that the chosen
#	implementation is what was loaded.
#
# Arguments:
#	args	packages; by default all three.

proc ::support::use {args} {
    variable directory
    if {[ours] && $directory ni $::auto_path} {
	lappend ::auto_path $directory
    }
    if {![llength $args]} {
	set args {pop3d pop3d::udb pop3d::dbox}
    }
    foreach package $args {
	set version [package require $package]
	# Ours continue Tcllib's 1.x from 1.10.0 on; Tcllib is below that.
	if {[package vsatisfies $version 1.10] != [ours]} {
	    error "$package $version is not of the implementation under test"
	}
    }
}

# support::only_ours --
#
#	Ends a test file that is about what only ours has, when Tcllib's pop3d
#	is under test. (run.tcl leaves such files out.)

proc ::support::only_ours {} {
    if {![ours]} {
	puts "nothing here that Tcllib's pop3d has"
	exit
    }
}

# support::check --
#
#	A test of tcltest that must have a body and a result, that may give
#	another result for Tcllib (-tcllib), and that fails when an error
#	went to the background. `-match` and `-returnCodes` are tcltest's.
#
# Arguments:
#	name		name of the test
#	description	the sentence that it shows
#	args		options of tcltest::test, and -tcllib RESULT,
#			-tcllibMatch MODE, -tcllibCodes CODES

proc ::support::check {name description args} {
    foreach option {-body -result} {
	if {![dict exists $args $option]} {
	    error "$name: no $option: a test must assert something"
	}
    }
    foreach {own option} {-tcllib -result -tcllibMatch -match -tcllibCodes -returnCodes} {
	if {[dict exists $args $own]} {
	    if {![ours]} {
		dict set args $option [dict get $args $own]
	    }
	    dict unset args $own
	}
    }
    dict set args -body [list ::support::Guarded [dict get $args -body]]
    uplevel 1 [list ::tcltest::test $name $description {*}$args]
}

# support::better --
#
#	A test of something that we do better than Tcllib: it must say what
#	Tcllib does, and is as much of a test there as here.
#
# Arguments:
#	number		the number of the difference in docs/DIFFERENCES.md
#	name		rest of the name of the test
#	description	what is better
#	args		as for `check`; -tcllib is required

proc ::support::better {number name description args} {
    if {![dict exists $args -tcllib]} {
	error "better-$number-$name: what does Tcllib do?"
    }
    uplevel 1 [list ::support::check better-$number-$name $description {*}$args]
}

# support::Guarded --
#
#	Evaluates the body of a test two levels up; errors that reached the
#	background meanwhile become its error.

proc ::support::Guarded {body} {
    variable bgerrors
    set bgerrors {}
    set code [catch {uplevel 1 $body} result options]
    # What is on its way to the background belongs to this test.
    update
    if {$code == 0 && [llength $bgerrors]} {
	return -code error "background errors: $bgerrors"
    }
    dict incr options -level
    return -options $options $result
}

proc ::support::Bgerror {message options} {
    variable bgerrors
    lappend bgerrors $message
}
interp bgerror {} ::support::Bgerror

# support::expected --
#
#	Takes the background errors recorded so far, for tests that provoke
#	some; the test then compares what is returned.

proc ::support::expected {} {
    variable bgerrors
    update
    set errors $bgerrors
    set bgerrors {}
    return $errors
}

# support::await --
#
#	Serves events until a condition holds.
#
# Arguments:
#	condition	an expression, evaluated in the caller's scope
#	limit		milliseconds; by default support::patience
#
# Results:
#	None; an error when the time is over.

proc ::support::await {condition {limit {}}} {
    variable patience
    variable tick
    if {$limit eq {}} {
	set limit $patience
    }
    set end [expr {[clock milliseconds] + $limit}]
    while {![uplevel 1 [list expr $condition]]} {
	if {[clock milliseconds] >= $end} {
	    return -code error -errorcode {SUPPORT TIMEOUT} \
		    "timed out waiting for: $condition"
	}
	# What clients and children receive counts up too.
	set timer [after 5 {incr ::support::tick}]
	vwait ::support::tick
	after cancel $timer
    }
}

# support::tempdir --
#
#	Makes a new directory, removed when the test process ends.

proc ::support::tempdir {} {
    variable temporary
    variable counter
    set base /tmp
    if {[info exists ::env(TMPDIR)]} {
	set base $::env(TMPDIR)
    }
    set dir [file join $base pop3d-test-[pid]-[incr counter]-[clock microseconds]]
    file mkdir $dir
    lappend temporary $dir
    return $dir
}

# support::sweep --
#
#	Removes the temporary directories.

proc ::support::sweep {} {
    variable temporary
    foreach dir $temporary {
	catch {file attributes $dir -permissions u+rwx}
	catch {file delete -force -- $dir}
    }
    set temporary {}
}

# support::cleanup --
#
#	Ends a test file.

proc ::support::cleanup {} {
    sweep
    ::tcltest::cleanupTests
}

# support::write, support::slurp --
#
#	The bytes of a file.

proc ::support::write {path bytes} {
    set channel [open $path wb]
    puts -nonewline $channel $bytes
    close $channel
    return $path
}

proc ::support::slurp {path} {
    set channel [open $path rb]
    set bytes [read $channel]
    close $channel
    return $bytes
}

# support::plain --
#
#	A reply with what differs from run to run put into words: HOST, the
#	server's string and the time stamp.

proc ::support::plain {text} {
    regsub -all {<\d+_[^>]*_\d+@[^>]*>} $text <STAMP> text
    regsub -all {tcllib/pop3d-[0-9.]+} $text SERVER text
    return [string map [list [info hostname] HOST] $text]
}

# support::outcome --
#
#	Runs a script and returns `{code result}`, for tables of errors.

proc ::support::outcome {script} {
    set code [catch {uplevel 1 $script} result]
    return [list $code $result]
}

# support::kill --
#
#	Sends a signal to a process. The shell's own kill is used, since a
#	small Debian has no program of that name (it is in procps).

proc ::support::kill {pid {signal TERM}} {
    exec sh -c {kill -s "$1" "$2"} sh $signal $pid
}

# `-match list`: equal as lists, however the expected one is laid out.
::tcltest::customMatch list {apply {{wanted got} {
    expr {[list {*}$wanted] eq [list {*}$got]}
}}}
# The answer to wrong credentials.
set ::support::sorry [expr {[::support::ours]
    ? {-ERR [AUTH] authentication failed, sorry} : {-ERR authentication failed, sorry}}]

::tcltest::testConstraint ours [::support::ours]
::tcltest::testConstraint tcllib [expr {![::support::ours]}]
::tcltest::testConstraint tcl9 [package vsatisfies [package provide Tcl] 9-]
::tcltest::testConstraint notRoot [expr {![file writable /proc/sys/kernel/hostname]}]

source [file join $::support::here client.tcl]
source [file join $::support::here child.tcl]
source [file join $::support::here fixture.tcl]
namespace import -force ::support::* ::fixture::on_both_shells
