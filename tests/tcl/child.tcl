# child.tcl --
#
#	Another tclsh with the same implementation, for what must not happen
#	in the process of the tests: exits, hangs, crashes, thousands of
#	descriptors. Run as a program, this file is that child. Its temporary
#	files are among those of the process that started it.
#
#	Over the pipe go `LENGTH\nSCRIPT` and back `CODE LENGTH\nRESULT`, in
#	bytes of UTF-8. The child serves events between the scripts.

namespace eval ::child {
    variable file [file normalize [info script]]
}

# child::start --
#
#	Starts a child.
#
# Arguments:
#	prelude		script evaluated first there
#	tclsh		words of the program, by default the one that runs this
#	implementation	by default the one under test
#
# Results:
#	A channel that stands for it.

proc ::child::start {{prelude {}} {tclsh {}} {implementation {}}} {
    variable file
    if {$tclsh eq {}} {
	set tclsh [list [info nameofexecutable]]
    }
    if {$implementation eq {}} {
	set implementation $::support::implementation
    }
    set pipe [open |[list env POP3D_IMPL=$implementation \
	    POP3D_SOCKET=$::fixture::socket \
	    TMPDIR=[::support::tempdir] {*}$tclsh $file 2>@stderr] r+]
    fconfigure $pipe -translation binary -blocking 0 -buffering none
    if {$prelude ne {}} {
	evaluate $pipe $prelude
    }
    return $pipe
}

# child::send --
#
#	Sends a script without waiting for its result.

proc ::child::send {pipe script} {
    set bytes [encoding convertto utf-8 $script]
    puts -nonewline $pipe [string length $bytes]\n$bytes
    flush $pipe
}

# child::evaluate --
#
#	Evaluates a script there and returns its result, or its error.
#	A child that does not answer in time is killed.
#
# Arguments:
#	pipe	the child
#	script	evaluated at its global level
#	limit	milliseconds

proc ::child::evaluate {pipe script {limit {}}} {
    send $pipe $script
    return [answer $pipe $limit]
}

# child::answer --
#
#	Waits for the result of the script sent last.

proc ::child::answer {pipe {limit {}}} {
    if {$limit eq {}} {
	set limit $::support::patience
    }
    variable arrived
    set arrived($pipe) {}
    fileevent $pipe readable [list ::child::Readable $pipe]
    set failed [catch {
	::support::await {[::child::Whole $pipe] || [eof $pipe]} $limit
    } message]
    fileevent $pipe readable {}
    if {$failed} {
	stop $pipe
	return -code error -errorcode {CHILD TIMEOUT} "the child did not answer"
    }
    if {![Whole $pipe]} {
	return -code error -errorcode {CHILD END} "the child has ended"
    }
    set head [string range $arrived($pipe) 0 [string first \n $arrived($pipe)]-1]
    set result [encoding convertfrom utf-8 [string range $arrived($pipe) \
	    [string length $head]+1 end]]
    if {[lindex $head 0]} {
	return -code error -errorcode {CHILD ERROR} $result
    }
    return $result
}

proc ::child::Readable {pipe} {
    variable arrived
    append arrived($pipe) [read $pipe]
    incr ::support::tick
}

proc ::child::Whole {pipe} {
    variable arrived
    set end [string first \n $arrived($pipe)]
    return [expr {$end >= 0 && [string length $arrived($pipe)] - $end - 1
	    >= [lindex [string range $arrived($pipe) 0 $end] 1]}]
}

# child::end --
#
#	Closes the child's input, which ends it, and waits for that.
#
# Results:
#	`exit N`, or `signal NAME` for one that was killed or crashed, or
#	`hung` for one that had to be killed.

proc ::child::end {pipe {limit {}}} {
    catch {close $pipe write}
    return [status $pipe $limit]
}

# child::status --
#
#	Waits for the end of a child that ends by itself.

proc ::child::status {pipe {limit {}}} {
    if {$limit eq {}} {
	set limit $::support::patience
    }
    variable arrived
    set arrived($pipe) {}
    set pid [lindex [pid $pipe] 0]
    fileevent $pipe readable [list ::child::Readable $pipe]
    set hung [catch {::support::await {[eof $pipe]} $limit}]
    fileevent $pipe readable {}
    if {$hung} {
	catch {::support::kill $pid KILL}
    }
    fconfigure $pipe -blocking 1
    unset -nocomplain arrived($pipe)
    if {![catch {close $pipe} - options]} {
	return [expr {$hung ? "hung" : "exit 0"}]
    }
    lassign [dict get $options -errorcode] kind - detail
    if {$hung} {
	return hung
    }
    return [expr {$kind eq "CHILDSTATUS" ? "exit $detail" : "signal $detail"}]
}

# child::stop --
#
#	Ends a child without ceremony.

proc ::child::stop {pipe} {
    catch {::support::kill [lindex [pid $pipe] 0] KILL}
    catch {close $pipe}
}

# The other side. ------------------------------------------------------------

proc ::child::Serve {} {
    variable input
    append input [read stdin]
    if {[eof stdin]} {
	exit 0
    }
    while {[set end [string first \n $input]] >= 0} {
	set length [string range $input 0 $end-1]
	if {[string length $input] - $end - 1 < $length} {
	    return
	}
	set script [string range $input $end+1 [expr {$end + $length}]]
	set input [string range $input [expr {$end + $length + 1}] end]
	set code [catch {uplevel #0 [encoding convertfrom utf-8 $script]} result]
	set bytes [encoding convertto utf-8 $result]
	puts -nonewline "[expr {$code == 1}] [string length $bytes]\n$bytes"
	flush stdout
    }
}

# support.tcl reads this file once more, which must not begin it all again.
if {[info exists ::argv0] && [file normalize $::argv0] eq $::child::file
	&& ![info exists ::child::input]} {
    set ::child::input {}
    source [file join [file dirname $::child::file] support.tcl]
    ::support::use
    fconfigure stdin -translation binary -blocking 0
    fconfigure stdout -translation binary
    fileevent stdin readable ::child::Serve
    vwait forever
}
