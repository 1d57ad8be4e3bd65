# load.tcl --
#
#	Loads the library and makes the commands of one package. Sourced by
#	pkgIndex.tcl with the variables
#
#	dir	directory of pkgIndex.tcl
#	package	name of the package
#	version	its version

if {[info commands ::pop3d_native] eq {}} {
    # Beside pkgIndex.tcl when installed; in a checkout whatever was built last.
    # Named as cargo names it: libpop3d.so, libpop3d.dylib, pop3d.dll.
    set name pop3d[info sharedlibextension]
    if {$::tcl_platform(platform) ne "windows"} {
	set name lib$name
    }
    set library [file join $dir $name]
    if {![file exists $library]} {
	set newest -1
	set targets [list target]
	if {[info exists ::env(CARGO_TARGET_DIR)]} {lappend targets $::env(CARGO_TARGET_DIR)}
	foreach target $targets {
	    foreach profile {release debug} {
		set built [file join $dir $target $profile $name]
		if {[file exists $built] && [file mtime $built] > $newest} {
		    set newest [file mtime $built]
		    set library $built
		}
	    }
	}
	if {$newest < 0} {
	    return -code error -errorcode {POP3D LIBRARY} \
		"no library for $package: expected \"$library\"; in a checkout, run \"cargo build --release\""
	}
    }
    # Tcl would guess the prefix "Pop".
    if {[catch {load $library Pop3d} message options]} {
	# What the library itself refuses says why.
	if {[regexp {^(couldn't load|couldn't find procedure|cannot find symbol)} $message]} {
	    append message "; expected a pop3d library for $::tcl_platform(os)\
		$::tcl_platform(machine): take the package for that, or in a checkout run\
		\"cargo build --release\""
	    set options {-code error -errorcode {POP3D LIBRARY}}
	}
	return -options $options $message
    }
}

# Scripts rely on Tcllib's log and mime being there with any of the packages.
# Where log is missing, Tcl has searched every directory when it says so, and so
# knows of Tcllib's mime before ours is taken.
if {$package ne "mime"} {
    catch {package require log}
}
if {$package ni {mime pop3d::udb}} {
    package require mime
}

::pop3d_native $package
package provide $package $version
