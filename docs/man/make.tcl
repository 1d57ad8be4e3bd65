# make.tcl --
#
#	Makes the manual's pages of docs/man/*.man, by Tcllib's dtplite:
#
#	build/doc/man	nroff, once as section n and once as Debian's 3tcl
#	build/doc/html	HTML, with a table of contents and an index of keywords
#	docs/manual	Markdown, kept in the repository

package require Tcl 8.6-

namespace eval manual {
    variable here [file dirname [file normalize [info script]]]
    variable root [file dirname [file dirname $here]]
}

# manual::dtplite --
#	Runs dtplite, which tells what it writes. Its warnings end it.
proc manual::dtplite {args} {
    set said [exec dtplite {*}$args 2>@1]
    if {[regexp -line {^.*(?:Warning|Error).*$} $said fault]} {
	error "dtplite $args: $fault"
    }
}

proc manual::read {file} {
    set in [open $file]
    try {return [::read $in]} finally {close $in}
}
proc manual::write {file text} {
    set out [open $file w]
    try {puts -nonewline $out $text} finally {close $out}
}

# manual::build --
#	Makes all pages: those in Markdown in `markdown`, the others below `doc`.
#	Returns `doc`.
proc manual::build {markdown doc} {
    variable here
    file delete -force $doc
    file mkdir $doc/man $doc/html $markdown
    foreach page [lsort [glob -directory $here *.man]] {
	set name [file rootname [file tail $page]]
	dtplite -o $doc/man/$name.n nroff $page
	# Debian keeps pages of Tcl packages in section 3tcl.
	set text [read $doc/man/$name.n]
	if {![regsub -line {^(\.TH "\S+") n } $text {\1 3tcl } text]} {
	    error "$name.n has no title line"
	}
	write $doc/man/$name.3tcl $text
	dtplite -o $markdown/$name.md markdown $page
	# Its table of contents leads to an anchor that is not there.
	write $markdown/$name.md [string map {(#section1) (#description)} [read $markdown/$name.md]]
    }
    dtplite -style $here/style.css -o $doc/html html $here
    file delete {*}[glob -nocomplain -directory $doc/html .*doc]
    return $doc
}

if {[info script] eq $::argv0} {
    set doc [file join $manual::root build doc]
    puts "made [manual::build [file join $manual::root docs manual] $doc]"
}
