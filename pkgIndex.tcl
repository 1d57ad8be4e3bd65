# Tcl package index file: works from a checkout and from an installed tree.
if {![package vsatisfies [package provide Tcl] 8.6-]} {return}
::apply {dir {
    # `make install` writes the version here. A checkout has it in Cargo.toml.
    set version {}
    if {$version eq {}} {
	set channel [open [file join $dir Cargo.toml]]
	set text [read $channel]
	close $channel
	regexp -line {^version = "(.*)"$} $text - version
    }
    foreach package {pop3d pop3d::udb pop3d::dbox pop3d::maildir pop3d::memory mime} {
	# Our mime is for machines without Tcllib, whose mime has a higher version.
	set its [expr {$package eq "mime" ? "1.0" : $version}]
	package ifneeded $package $its [list ::apply {{dir package version} {
	    source [file join $dir tcl load.tcl]
	}} $dir $package $its]
    }
    package ifneeded pop3d::check $version [list source [file join $dir tcl check.tcl]]
}} $dir
