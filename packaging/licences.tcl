# licences.tcl --
#
#	Prints the licences of the crates that are linked into the library, with their
#	texts: what those who pass on the binary must pass on too.
#
#	licences.tcl DIRECTORY
#
#	DIRECTORY is that of `cargo vendor --versioned-dirs`.

package require Tcl 8.6-

# The crates: a list of name, version and licence, for what is linked and not only used
# to build or to test.
proc crates {} {
    set printed [exec cargo tree --locked --edges normal --prefix none --package pop3d \
	--format {{p}|{l}} 2>/dev/null]
    set found {}
    foreach line [split $printed \n] {
	# Those of this project have a path after the version, and macros say so; what was
	# printed before ends with (*).
	if {[regexp {^(\S+) v(\S+)(?: \(proc-macro\))?\|(.*?)(?: \(\*\))?$} $line - name version licence]} {
	    lappend found [list $name $version $licence]
	}
    }
    return [lsort -unique $found]
}

proc slurp {file} {
    set channel [open $file]
    fconfigure $channel -encoding utf-8
    set text [read $channel]
    close $channel
    return [string trimright $text]
}

fconfigure stdout -encoding utf-8 -translation lf
lassign $argv vendor
set crates [crates]
if {$crates eq {}} {
    error "cargo tree names no crates"
}
puts "These crates are linked into the library of pop3d, each under the licence beside it."
puts "Their texts follow, each once.\n"
foreach crate $crates {
    puts [format {  %-24s %-12s %s} {*}$crate]
}
set texts {}
foreach crate $crates {
    lassign $crate name version
    set dir [file join $vendor $name-$version]
    set files [lsort [glob -nocomplain -type f -directory $dir \
	LICEN\[CS\]E* COPYING* COPYRIGHT* NOTICE* */LICENSE]]
    foreach file $files {
	dict lappend texts [slurp $file] "$name $version, [string range $file [string length $dir/] end]"
    }
}
dict for {text where} $texts {
    puts "\n[string repeat - 76]"
    puts [join $where \n]
    puts "[string repeat - 76]\n\n$text"
}
