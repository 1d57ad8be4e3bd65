# service.tcl - a POP3 service, from a configuration file.
#
#	service.sh CONFIG	(or: tclsh service.tcl CONFIG)
#
# README.md beside this file says what the configuration holds and how systemd
# runs the service. Commands come as lines on the standard input, from service.sh:
#
#	reload	read users and certificates again
#	stop	take no more connections, and end with the last session

set auto_path [linsert $auto_path 0 \
    [file dirname [file dirname [file dirname [file normalize [info script]]]]]]
package require pop3d 1.11
package require pop3d::udb
package require pop3d::dbox
package require pop3d::maildir

namespace eval service {
    # How long sessions may go on after `stop`, in milliseconds.
    variable grace 30000
    # Names of the servers.
    variable servers {}
    # The file of the users.
    variable users {}
    # Options for all servers.
    variable options {}
    # What the configuration says to listen on: name, port, options.
    variable listens {}
}

# Log --
#	Writes a line as the journal reads it, sd-daemon(3): with its priority.
proc service::Log {level text args} {
    set priority [dict get {error 3 warning 4 notice 5 info 6 debug 7} $level]
    puts stderr [expr {[info exists ::env(JOURNAL_STREAM)] ? "<$priority>$text" : "$level: $text"}]
}

# Fail --
#	Says what is wrong, and ends.
proc service::Fail {text} {
    Log error $text
    exit 1
}

# Configure --
#	Reads the configuration: a Tcl script, in a safe interpreter that knows
#	the commands below and none that reaches a file or a program.
proc service::Configure {file} {
    variable directory [file dirname [file normalize $file]]
    set safe [interp create -safe]
    foreach command {users maildirs dboxes certificate listen option} {
	interp alias $safe $command {} ::service::config::$command
    }
    try {
	set in [open $file]
	set script [read $in]
	close $in
	if {[interp eval $safe [list catch $script ::message ::info]]} {
	    lassign [interp eval $safe {list $::message [dict get $::info -errorline]}] message line
	    Fail "$file, line $line: $message"
	}
    } trap POSIX {message} {
	Fail $message
    } finally {
	interp delete $safe
    }
}

namespace eval service::config {
    # A file's name; a relative one is beside the configuration.
    proc Path {name} {file normalize [file join $::service::directory $name]}

    # users FILE: a file that `pop3d::udb` has saved.
    proc users {file} {
	set ::service::users [Path $file]
	::users read $::service::users
	lappend ::service::options -auth ::users
	return
    }
    # maildirs DIRECTORY, dboxes DIRECTORY: where the mailboxes are.
    proc maildirs {directory} {Boxes ::pop3d::maildir::new $directory}
    proc dboxes {directory} {Boxes ::pop3d::dbox::new $directory}
    proc Boxes {new directory} {
	$new ::boxes
	::boxes base [Path $directory]
	lappend ::service::options -storage ::boxes
	return
    }
    # certificate CERTFILE KEYFILE: one for each name that clients ask for.
    proc certificate {certfile keyfile} {
	dict lappend ::service::options -certificates [list [Path $certfile] [Path $keyfile]]
	return
    }
    # option NAME VALUE: any option of a server, for all of them.
    proc option {name value} {
	dict set ::service::options $name $value
	return
    }
    # listen NAME PORT ?-option value ...?: a server, with options of its own. Where systemd
    # has opened a socket of this name, that is taken, and not the port.
    proc listen {name port args} {
	lappend ::service::listens $name $port $args
	return
    }
}

# Sockets --
#	Those that systemd has opened, sd_listen_fds(3): name -> descriptor.
proc service::Sockets {} {
    set sockets {}
    if {[info exists ::env(LISTEN_FDS)]} {
	set names [expr {[info exists ::env(LISTEN_FDNAMES)] ? [split $::env(LISTEN_FDNAMES) :] : {}}]
	for {set n 0} {$n < $::env(LISTEN_FDS)} {incr n} {
	    dict set sockets [lindex $names $n] [expr {3 + $n}]
	}
    }
    return $sockets
}

proc service::Start {} {
    variable listens
    variable options
    variable servers
    set sockets [Sockets]
    if {![llength $listens]} {Fail "the configuration names nothing to listen on: listen NAME PORT"}
    foreach {name port own} $listens {
	try {
	    pop3d::new ::$name
	    ::$name configure -log ::service::Log {*}$options -port $port {*}$own
	    if {[dict exists $sockets $name]} {
		::$name configure -socket [list pop3d::inherit [dict get $sockets $name]]
	    }
	    ::$name up
	} on error {message info} {
	    Fail "$name, port $port: $message[Advice $info]"
	}
	lappend servers ::$name
	Log notice "$name: serving on port [::$name cget -port]"
    }
}

# Advice --
#	What to do about an error of `up`.
proc service::Advice {info} {
    switch -glob [dict get $info -errorcode] {
	{POSIX EACCES *} {return ". Ports below 1024 need CAP_NET_BIND_SERVICE, or systemd's socket"}
	{POSIX EADDRINUSE *} {return ". Another program serves there: ss -ltnp shows which"}
    }
}

# Command --
#	Does what a line of the standard input says; its end means stop.
proc ::service::Command {} {
    switch [gets stdin] {
	reload {Reload}
	stop {Stop}
	default {if {[eof stdin]} Stop}
    }
}

proc service::Reload {} {
    variable servers
    variable users
    variable options
    foreach script [list \
	[expr {$users eq {} ? {} : [list ::users read $users]}] \
	{*}[expr {[dict exists $options -certificates] ? [lmap server $servers {list $server reload}] : {}}] \
    ] {
	# What cannot be used leaves the old in use.
	if {[catch $script message]} {
	    Log error "reload: $message"
	    incr failed
	}
    }
    Log notice [expr {[info exists failed] ? "reloaded but for what failed" : "reloaded"}]
}

proc service::Stop {} {
    variable servers
    variable grace
    fileevent stdin readable {}
    Log notice "stopping: sessions may go on for [expr {$grace / 1000}] seconds"
    foreach server $servers {$server destroy defer}
    after $grace {set ::service::stopped 1}
    Ended
}
# Ended --
#	Looks whether the last session has ended.
proc service::Ended {} {
    variable servers
    set left [lmap server $servers {if {[info commands $server] eq {}} continue; set server}]
    if {![llength $left]} {
	set ::service::stopped 1
    } else {
	after 100 ::service::Ended
    }
}

if {$argc != 1} {
    puts stderr "usage: service.sh CONFIG"
    exit 2
}
pop3d::udb::new ::users
service::Configure [lindex $argv 0]
service::Start
fconfigure stdin -blocking 0
fileevent stdin readable ::service::Command
vwait ::service::stopped
exit 0
