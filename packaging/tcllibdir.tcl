# tcllibdir.tcl --
#
#	Prints the directory in which `make install` puts the package: one that this tclsh
#	searches.
#
#	tcllibdir.tcl ?PREFIX?
#
#	Tcls are built to search different places. Debian's search lib/tcltk of /usr/local and
#	/usr; Fedora's lib64/tclX.Y of /usr; others lib of the prefix that they are installed
#	in, and on macOS more.

# tcllibdir --
#
#	Arguments:
#	searched	$auto_path
#	built_in	$tcl_pkgPath: where packages were meant to go when Tcl was built
#	own		prefix of the tclsh
#	prefix		the prefix that is asked for; empty: any that is searched
#
#	Without a prefix /usr/local comes first, where it is searched: what is there is not
#	the distribution's. In a prefix that is not searched, the directory has the name that
#	this Tcl's have.

proc tcllibdir {searched built_in own prefix} {
    set prefixes [list $prefix]
    if {$prefix eq {}} {
	set prefixes [list /usr/local $own]
    }
    foreach prefix $prefixes {
	foreach dir [list $prefix/lib/tcltk {*}[lsearch -all -inline $built_in $prefix/lib*] $prefix/lib] {
	    if {$dir in $searched} {
		return $dir
	    }
	}
    }
    if {[lsearch -glob $searched */lib/tcltk] >= 0} {
	return $prefix/lib/tcltk
    }
    return $prefix/lib
}

# Not when a test sources it.
if {[info exists argv0] && [file normalize $argv0] eq [file normalize [info script]]} {
    if {![info exists tcl_pkgPath]} {
	set tcl_pkgPath {}
    }
    set own [file dirname [file dirname [file normalize [info nameofexecutable]]]]
    puts [tcllibdir $auto_path $tcl_pkgPath $own [lindex $argv 0]]
}
