# differential.tcl --
#
#	Tcllib's pop3d and ours, each in a process of its own, answer the same
#	dialogs. Every answer must be what the model of its side says, and
#	where the two differ, a rule that bears its number in docs/COMPAT.md,
#	part 2, must say so: see differential/rules.tcl.
#
#	differential.tcl ?-seed N? ?-count N? ?-only PATTERN?
#
#	The seed is printed; the same seed makes the same generated dialogs.

set options [dict merge [dict create -seed [expr {[clock seconds] % 1000000}] -count 150 -only *] $argv]
# tcltest would take them for its own.
set argv {}

fconfigure stdout -buffering line
# Every dialog has mailboxes of its own: quicker in memory.
if {![info exists ::env(TMPDIR)] && [file writable /dev/shm]} {
    set ::env(TMPDIR) /dev/shm
}
set here [file dirname [file normalize [info script]]]
source [file join $here tcl support.tcl]
foreach file {world expect expect-ours expect-tcllib rules play wire dialogs generate} {
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

if {[dict get $options -only] eq "*"} {
    check rules-used {every difference is met by a fixed dialog} -body {
	rules::unused
    } -result {}
}

puts "[dict size $dialogs::dialogs] fixed dialogs, [dict get $options -count] generated,\
	$play::answers pairs of answers"
rules::report
play::stop
support::cleanup
