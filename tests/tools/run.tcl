# run.tcl --
#
#	Runs the checks and tests of the project, shows what failed, a table
#	of counts by kind and Tcl version, and as last line
#	`N passed, N failed`. The exit status is 0 only if nothing failed.
#
#	run.tcl all ?PATTERN?      everything (`make test`)
#	run.tcl tcl ?PATTERN?      what runs in tclsh
#	run.tcl tcllib ?PATTERN?   the Tcl tests, against Tcllib's own pop3d
#
#	POP3D_DIR is the directory of an installed tree to test (`make test`
#	stages one); by default the checkout itself is used.
#
#	PATTERN (glob) picks test files by name. A file that crashes, hangs
#	or runs no test counts as a failure. The outputs are kept in
#	build/results.

package require Tcl 8.6-

namespace eval run {
    variable top [file dirname [file dirname [file dirname [file normalize [info script]]]]]
    variable results [file join $top build results]
    variable waiting {}		;# jobs to start: {kind tcl name seconds command}
    variable running 0
    variable done 0
    variable failures {}	;# {label log} of every job that failed
    variable tally {}		;# {kind tcl} -> {passed failed skipped}

    # Files at a time: the tests wait more than they compute, but some
    # measure how quickly a server answers.
    variable width 2
}

# The Tcls to test under: version -> program.
proc run::tcls {} {
    variable top
    set found {}
    foreach {version programs} [list \
	    8.6 {tclsh8.6} \
	    9.0 [list [file join $top build tcl9 tclsh9.0] tclsh9.0]] {
	foreach program $programs {
	    set path [auto_execok $program]
	    if {$path ne {}} {
		dict set found $version $path
		break
	    }
	}
    }
    return $found
}

# run::count --
#
#	Adds to the tally of a kind of tests under a Tcl ("-": none).

proc run::count {kind tcl passed failed skipped} {
    variable tally
    set key [list $kind $tcl]
    set old {0 0 0}
    if {[dict exists $tally $key]} {
	set old [dict get $tally $key]
    }
    dict set tally $key [lmap a $old b [list $passed $failed $skipped] {expr {$a + $b}}]
}

# run::job --
#
#	Puts a command into the queue.

proc run::job {kind tcl name seconds command} {
    variable waiting
    lappend waiting [list $kind $tcl $name $seconds $command]
}

# run::drain --
#
#	Runs all the jobs of the queue, `width` at a time.

proc run::drain {width} {
    variable waiting
    variable running
    variable done
    while {[llength $waiting] || $running} {
	while {[llength $waiting] && $running < $width} {
	    set waiting [lassign $waiting job]
	    incr running
	    Start {*}$job
	}
	vwait ::run::done
    }
}

proc run::Start {kind tcl name seconds command} {
    # timeout(1) also ends what the job has started itself.
    set pipe [open |[list timeout -k 5 $seconds {*}$command < /dev/null 2>@1] r]
    fconfigure $pipe -blocking 0 -translation binary
    fileevent $pipe readable [list ::run::Readable $pipe $kind $tcl $name \
	    [clock milliseconds]]
}

proc run::Readable {pipe kind tcl name since} {
    variable output
    variable running
    variable done
    append output($pipe) [read $pipe]
    if {![eof $pipe]} {
	return
    }
    fconfigure $pipe -blocking 1
    set status ok
    if {[catch {close $pipe} - options]} {
	set status [lrange [dict get $options -errorcode] 0 0]
	append status " " [lindex [dict get $options -errorcode] end]
    }
    set text $output($pipe)
    unset output($pipe)
    Ended $kind $tcl $name $status $text [expr {[clock milliseconds] - $since}]
    incr running -1
    incr done
}

# What a job's output and end say.
proc run::Ended {kind tcl name status text milliseconds} {
    variable results
    variable failures
    set passed 0
    set failed 0
    set skipped 0
    switch -- $kind {
	rustfmt - clippy {
	    set passed [expr {$status eq "ok"}]
	}
	{cargo test} - models - portable {
	    foreach {- p f s} [regexp -all -inline \
		    {(?n)^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored} $text] {
		incr passed $p; incr failed $f; incr skipped $s
	    }
	}
	default {
	    # The summary of tcltest.
	    foreach {- p s f} [regexp -all -inline \
		    {(?n)\tTotal\t\d+\tPassed\t(\d+)\tSkipped\t(\d+)\tFailed\t(\d+)$} $text] {
		incr passed $p; incr failed $f; incr skipped $s
	    }
	}
    }
    # Neither an end that was not clean nor an empty run may look well.
    # Against Tcllib a file about what only we have is skipped as a whole.
    set empty [expr {$passed == 0 && !($skipped && $::env(POP3D_IMPL) eq "tcllib")}]
    if {$failed == 0 && ($status ne "ok" || $empty)} {
	set failed 1
	append text "\n*** $name: [expr {$status eq "ok" ? "no test was run" : $status}]\n"
    }
    count $kind $tcl $passed $failed $skipped
    set log [file join $results [string map {{ } -} "$kind-$tcl-$name.log"]]
    set channel [open $log wb]
    puts $channel $text
    close $channel
    if {$failed} {
	lappend failures [list "$kind, Tcl $tcl, $name" $text]
    }
    puts [format "%-8s %-13s %-4s %-28s %5d passed %3d failed  %6.1f s" \
	    [expr {$failed ? "FAILED" : "ok"}] $kind $tcl $name $passed $failed \
	    [expr {$milliseconds / 1000.0}]]
}

# run::rust --
#
#	The checks and tests that cargo knows.

proc run::rust {} {
    variable top
    # Not every Rust installation has these two.
    if {![catch {exec cargo fmt --version 2>@1}]} {
	job rustfmt - fmt 120 {cargo fmt --all --check}
    }
    if {![catch {exec cargo clippy --version 2>@1}]} {
	job clippy - clippy 900 {cargo clippy --locked --quiet --workspace --all-targets -- -D warnings}
    }
    job {cargo test} - cargo 1500 {cargo test --locked --workspace --no-fail-fast}
    job models - loom 900 {make --no-print-directory models}
    job portable - portable 900 {make --no-print-directory portable}
    # cargo locks its directory anyway.
    drain 1
}

# run::scripts --
#
#	The test files of the Tcl side, under every Tcl.

proc run::scripts {pattern} {
    variable top
    variable width
    set tests [file join $top tests]
    foreach {version program} [tcls] {
	foreach {kind files} [list \
		tcltest [lsort [glob -nocomplain -directory [file join $tests tcl] *.test]] \
		clients [lsort [glob -nocomplain -directory [file join $tests clients] *.test]] \
		differential [glob -nocomplain -directory $tests differential.tcl]] {
	    # Tcllib against Tcllib would show nothing.
	    if {$kind eq "differential" && $::env(POP3D_IMPL) eq "tcllib"} {
		continue
	    }
	    foreach file $files {
		if {[string match $pattern [file tail $file]] && [Concerns $file]} {
		    job $kind $version [file rootname [file tail $file]] 300 \
			    [list {*}$program $file]
		}
	    }
	}
    }
    drain $width
}

# Whether a test file has something to say about what is under test.
proc run::Concerns {file} {
    set channel [open $file]
    set text [read $channel]
    close $channel
    return [expr {$::env(POP3D_IMPL) eq "ours" || ![regexp -line {^support::only_ours$} $text]}]
}

# run::report --
#
#	What failed, the table, the sum; returns the exit status.

proc run::report {} {
    variable failures
    variable tally
    foreach failure $failures {
	lassign $failure label text
	puts "\n======== $label"
	# The end says most; all of it is in build/results.
	puts [join [lrange [split [string trim $text] \n] end-120 end] \n]
	# What cargo's tests said as they failed may stand far before it.
	foreach {- said} [regexp -all -inline {\nfailures:\n\n(----.*?)\n\nfailures:\n} $text] {
	    puts [join [lrange [split $said \n] 0 60] \n]
	}
    }
    puts [format "\n%-14s %-4s %8s %8s %8s" kind Tcl passed failed skipped]
    set passed 0
    set failed 0
    dict for {key counts} $tally {
	puts [format "%-14s %-4s %8d %8d %8d" {*}$key {*}$counts]
	incr passed [lindex $counts 0]
	incr failed [lindex $counts 1]
    }
    if {$passed == 0} {
	incr failed
    }
    puts "\n$passed passed, $failed failed"
    return [expr {$failed > 0}]
}

proc run::main {what {pattern *}} {
    variable top
    variable results
    if {$what ni {all tcl tcllib}} {
	puts stderr "run.tcl: \"$what\" is none of all, tcl, tcllib"
	return 2
    }
    cd $top
    file mkdir $results
    set ::env(POP3D_IMPL) [expr {$what eq "tcllib" ? "tcllib" : "ours"}]
    fconfigure stdout -buffering line
    foreach version {8.6 9.0} {
	if {![dict exists [tcls] $version]} {
	    puts stderr "run.tcl: there is no tclsh $version"
	    count setup $version 0 1 0
	}
    }
    if {$what eq "all"} {
	rust
    }
    scripts $pattern
    return [report]
}

exit [run::main {*}$argv]
