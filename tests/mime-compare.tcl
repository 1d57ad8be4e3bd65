# Reads the messages of crates/tcl-mime/tests/mail with Tcllib's mime and compares with what
# our fallback is to make of them.
#
#     tclsh mime-compare.tcl ?-print? ?NAME ...?
#
# Beside each NAME.eml lies NAME.want: a first line that says how Tcllib's
# results compare, then the description that tests/mime.rs expects of ours.
#
#     = both         Tcllib agrees, from a file and from a string
#     = file N       it agrees from a file only, by difference N of src/mime/mod.rs
#     = string N     it agrees from a string only
#     = no N         it does not
#
# Without an option every claim is checked; the exit status is 1 if one is
# wrong. -print shows Tcllib's descriptions.

package require mime

set tests [file dirname [file normalize [info script]]]
set directory [file join [file dirname $tests] crates tcl-mime tests mail]

source [file join $tests tcl mime-describe.tcl]

# What Tcllib makes of a message, given as a file or as a string.
proc tcllib {path how} {
    set source [expr {$how eq "file" ? $path : [content $path]}]
    if {[catch {mime::initialize -$how $source} token]} {
        return "! $token\n"
    }
    if {[catch {describe $token 1} lines]} {
        set lines [list "! $lines"]
    }
    catch {mime::finalize $token -subordinates all}
    return [join $lines \n]\n
}

proc agreement {want file string} {
    set byFile [expr {$file eq $want}]
    set byString [expr {$string eq $want}]
    return [lindex {no string file both} [expr {2 * $byFile + $byString}]]
}

set mode -check
if {[string match -* [lindex $argv 0]]} {
    set argv [lassign $argv mode]
}
if {![llength $argv]} {
    foreach path [lsort [glob -directory $directory *.eml]] {
        lappend argv [file rootname [file tail $path]]
    }
}
set wrong 0
foreach name $argv {
    set file [tcllib [file join $directory $name.eml] file]
    set string [tcllib [file join $directory $name.eml] string]
    set wantPath [file join $directory $name.want]
    if {$mode eq "-print"} {
        puts "## $name, file\n$file## $name, string\n$string"
        continue
    }
    set want [content $wantPath]
    set end [string first \n $want]
    set claim [lindex [string range $want 0 $end-1] 1]
    set true [agreement [string range $want $end+1 end] $file $string]
    if {$claim ne $true} {
        incr wrong
        puts "$name: says $claim, but Tcllib agrees: $true"
    }
}
if {$mode eq "-check"} {
    puts "[llength $argv] messages, $wrong wrong claims"
}
exit [expr {$wrong > 0}]
