# differential.tcl --
#
#	Tcllib's pop3d and ours, each in a process of its own, answer the same
#	dialogs. Every answer must be what the model of its side says, and
#	where the two differ, a rule that bears its number in docs/DIFFERENCES.md
#	must say so: see differential/rules.tcl.
#
#	The same for script calls, whose results and errors must be equal, and
#	for the callbacks that dialogs lead to.
#
#	differential.tcl ?-seed N? ?-count N? ?-only PATTERN?
#
#	The seed is printed; the same seed makes the same generated dialogs.

set options [dict merge [dict create -seed [expr {[clock seconds] % 1000000}] -count 100 -only *] $argv]
# tcltest would take them for its own.
set argv {}

fconfigure stdout -buffering line
# Every dialog has mailboxes of its own: quicker in memory.
if {![info exists ::env(TMPDIR)] && [file writable /dev/shm]} {
    set ::env(TMPDIR) /dev/shm
}
set here [file dirname [file normalize [info script]]]
source [file join $here tcl support.tcl]
foreach file {world expect expect-ours expect-tcllib rules play wire dialogs generate api api-run trace} {
    source [file join $here differential $file.tcl]
}
# For the answers to APOP.
package require md5 2
encoding system utf-8

# differ --
#
#	A test for every dialog.

proc differ {kind dialogs} {
    set ::rules::counting $kind
    dict for {name steps} $dialogs {
	if {![string match [dict get $::options -only] $name]} continue
	check $kind-$name [string range $steps 0 100] -body {
	    join [play::dialog $steps] \n
	} -result {}
    }
}

differ fixed $dialogs::dialogs
puts "generated dialogs: -seed [dict get $options -seed]"
differ generated [generate::dialogs [dict get $options -seed] [dict get $options -count]]

# calls --
#
#	A test for a group of script calls.

proc calls {name calls} {
    if {![string match [dict get $::options -only] $name]} return
    incr ::calls [llength $calls]
    check api-$name "[llength $calls] calls" -body {
	join [api::compare $calls] \n
    } -result {}
}
set calls 0
dict for {name group} $api::groups {
    calls $name $group
}
for {set i 0} {$i < 4} {incr i} {
    set seed [expr {[dict get $options -seed] + $i}]
    calls generated-$seed [api::generated $seed 100]
}

if {[dict get $options -only] eq "*"} {
    check api-rules-used {every difference of the calls is met} -body {
	lsort [array names api::used]
    } -result [lsort [dict keys $api::rules]]
    check rules-used {every difference is met by a fixed dialog} -body {
	rules::unused
    } -result {}
}

trace-run::start
set traces 0
foreach {steps only} ${trace-run::dialogs} {
    if {![string match [dict get $options -only] trace]} break
    check trace-[incr traces] $steps -body {
	trace-run::compare $steps $only
    } -result {}
}
trace-run::stop
puts "[set trace-run::unlocks] times Tcllib unlocked what was not locked (3)"

puts "[dict size $dialogs::dialogs] fixed dialogs, [dict get $options -count] generated,\
	$play::answers pairs of answers; $calls script calls"
rules::report
puts "script calls that differ: [lsort -stride 2 [array get api::used]]"
play::stop
support::cleanup
