# fixture.tcl --
#
#	A server with users and mail: what most tests begin with; and tests
#	that run over each shell of connections (docs/ARCHITECTURE.md).

namespace eval ::fixture {
    # A message whose bytes Tcllib passes on unchanged too, but for its end.
    variable simple "From: a@example.org\r\nSubject: one\r\n\r\nHello.\r\n"

    # The shells, each with the -socket that chooses it. (Not by `apply`: Tcl
    # 9.0 mixes up a lambda with that of a deleted interpreter.) Tcllib's pop3d
    # knows Tcl channels only.
    variable shells {
	net ::socket
	chan {::interp eval {} ::socket -myaddr 127.0.0.1}
    }
    if {![::support::ours]} {
	set shells {chan ::socket}
    }

    # The shell of the test that runs, and its -socket. Children have that too.
    variable shell [lindex $shells 0]
    variable socket ::socket
    if {[info exists ::env(POP3D_SOCKET)]} {
	set socket $::env(POP3D_SOCKET)
    }

    namespace export on_both_shells
}

# fixture::on_both_shells --
#
#	A test of a rule that holds whichever shell drives the connection:
#	NAME-net runs it on the network threads' sockets, NAME-chan on Tcl
#	channels. A server that fixture::start has not made needs
#	`-socket $fixture::socket`.
#
# Arguments:
#	name		begin of the names of the two tests
#	description	the sentence that they show
#	args		as for support::check

proc ::fixture::on_both_shells {name description args} {
    variable shells
    variable shell
    variable socket
    dict for {shell socket} $shells {
	uplevel 1 [list ::support::check $name-$shell "$shell: $description" {*}$args]
    }
    lassign $shells shell
    set socket ::socket
}

# fixture::mailbox --
#
#	Writes messages into a mailbox directory.
#
# Arguments:
#	base	base directory
#	name	mailbox
#	files	dict: file name -> bytes

proc ::fixture::mailbox {base name files} {
    set dir [file join $base $name]
    file mkdir $dir
    dict for {file bytes} $files {
	::support::write [file join $dir $file] $bytes
    }
    return $dir
}

# fixture::start --
#
#	Starts a server `srv` with the user database `users` and the mailboxes
#	`boxes`. User NAME has the password `secret` and the mailbox `NAME-box`.
#
# Arguments:
#	mail	dict: user -> dict of file name -> bytes
#	args	further options of the server
#
# Results:
#	The base directory of the mailboxes. `fixture::port` is the port.

proc ::fixture::start {mail args} {
    variable port
    variable socket
    set base [::support::tempdir]
    ::pop3d::new srv
    ::pop3d::udb::new users
    ::pop3d::dbox::new boxes
    boxes base $base
    dict for {user files} $mail {
	mailbox $base $user-box $files
	users add $user secret $user-box
    }
    srv configure -port 0 -auth ::users -storage ::boxes -socket $socket
    if {[::support::ours]} {
	# Tests of the delay set their own.
	srv configure -logindelay 0
    }
    srv configure {*}$args
    srv up
    set port [srv cget -port]
    return $base
}

# fixture::stop --
#
#	Takes everything down again, also when a test failed half way.

proc ::fixture::stop {} {
    foreach object {srv users boxes} {
	if {[llength [info commands ::$object]]} {
	    ::$object destroy
	}
    }
}

# fixture::recorder --
#
#	Makes a command `::NAME` that records its calls in `::fixture::calls`
#	and answers from a dict (method -> script, evaluated with `args` set
#	to the arguments after the method).

proc ::fixture::recorder {name answers} {
    variable calls {}
    proc ::$name {method args} [string map [list @ANSWERS@ [list $answers]] {
	lappend ::fixture::calls [list $method {*}$args]
	set answers @ANSWERS@
	if {![dict exists $answers $method]} {
	    error "unknown method \"$method\""
	}
	eval [dict get $answers $method]
    }]
}

# fixture::took --
#
#	The calls recorded since the last time, without the question for
#	unique ids, which a storage need not know (and Tcllib never asks).

proc ::fixture::took {} {
    variable calls
    set taken $calls
    set calls {}
    return [lmap call $taken {
	if {[lindex $call 0] eq "uidl"} continue
	set call
    }]
}
