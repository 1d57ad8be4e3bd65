# client.tcl --
#
#	A raw POP3 client: it knows bytes, lines and time-outs, and as good as
#	nothing of POP3, so that it can say and hear anything. It works
#	through the event loop, hence also with a server in the same process.

namespace eval ::client {
    variable buffer		;# socket -> bytes not yet taken
    variable ended		;# socket -> 1 once the server has closed
    array set buffer {}
    array set ended {}

    # Commands whose positive reply goes on until a line with a dot.
    # LIST and UIDL do so only without an argument.
    variable long {CAPA RETR TOP LIST UIDL}
}

# client::open --
#
#	Connects. The greeting is left to be read.

proc ::client::open {port {host 127.0.0.1}} {
    return [adopt [socket $host $port]]
}

# client::adopt --
#
#	Makes a client of a socket that is connected already.

proc ::client::adopt {socket} {
    variable buffer
    variable ended
    set buffer($socket) {}
    set ended($socket) 0
    fconfigure $socket -blocking 0 -translation binary -buffering none
    fileevent $socket readable [list ::client::Readable $socket]
    return $socket
}

proc ::client::Readable {socket} {
    variable buffer
    variable ended
    # A reset shows as an error here; for a client it is an end as well.
    if {[catch {read $socket} bytes]} {
	set bytes {}
	set ended($socket) 1
    }
    append buffer($socket) $bytes
    incr ::support::tick
    if {$ended($socket) || [eof $socket]} {
	set ended($socket) 1
	fileevent $socket readable {}
    }
}

# client::send --
#
#	Sends bytes as they are.

proc ::client::send {socket bytes} {
    puts -nonewline $socket $bytes
    flush $socket
}

# client::line --
#
#	Takes one line; it must end with CRLF, which is not returned.

proc ::client::line {socket} {
    variable buffer
    variable ended
    ::support::await {[string first \n $::client::buffer($socket)] >= 0
	    || $::client::ended($socket)}
    set end [string first \n $buffer($socket)]
    if {$end < 0} {
	return -code error -errorcode {CLIENT EOF} \
		"connection closed, after: $buffer($socket)"
    }
    set line [string range $buffer($socket) 0 $end]
    set buffer($socket) [string range $buffer($socket) $end+1 end]
    if {[string range $line end-1 end] ne "\r\n"} {
	error "no CRLF at the end of: $line"
    }
    return [string range $line 0 end-2]
}

# client::body --
#
#	Takes a multi-line text up to its final dot.
#
# Results:
#	The bytes as sent, dots still stuffed, without the line of the dot.

proc ::client::body {socket} {
    variable buffer
    ::support::await {[::client::BodyEnd $socket] >= 0 || $::client::ended($socket)}
    set end [BodyEnd $socket]
    if {$end < 0} {
	return -code error -errorcode {CLIENT EOF} \
		"connection closed in the middle of a text"
    }
    set body [string range $buffer($socket) 0 [expr {$end - 1}]]
    set buffer($socket) [string range $buffer($socket) [expr {$end + 3}] end]
    return $body
}

# Where the line with the dot begins; negative while it is not there.
proc ::client::BodyEnd {socket} {
    variable buffer
    if {[string range $buffer($socket) 0 2] eq ".\r\n"} {
	return 0
    }
    set at [string first "\r\n.\r\n" $buffer($socket)]
    return [expr {$at < 0 ? -1 : $at + 2}]
}

# client::rest --
#
#	Waits until the server has closed, and takes all that it sent.

proc ::client::rest {socket} {
    variable buffer
    ::support::await {$::client::ended($socket)}
    set bytes $buffer($socket)
    set buffer($socket) {}
    return $bytes
}

# client::close --
#
#	Drops the connection, whatever its state.

proc ::client::close {socket} {
    variable buffer
    variable ended
    catch {::close $socket}
    unset -nocomplain buffer($socket) ended($socket)
}

# client::ask --
#
#	Sends one command, returns the first line of the reply.

proc ::client::ask {socket command} {
    send $socket $command\r\n
    return [line $socket]
}

# client::talk --
#
#	Sends one command, returns the whole reply: the line, or for commands
#	with a text a list of the line and the text, lines ended by \n.

proc ::client::talk {socket command} {
    variable long
    set reply [ask $socket $command]
    set words [split [string trim $command]]
    set verb [string toupper [lindex $words 0]]
    if {$verb ni $long || ![string match +OK* $reply]
	    || ($verb in {LIST UIDL} && [llength $words] > 1)} {
	return $reply
    }
    return [list $reply [string map {\r\n \n} [body $socket]]]
}

# client::login --
#
#	Connects and logs in; an error when that is refused.

proc ::client::login {port user password} {
    set socket [open $port]
    line $socket
    ask $socket "USER $user"
    set reply [ask $socket "PASS $password"]
    if {![string match +OK* $reply]} {
	close $socket
	error "login refused: $reply"
    }
    return $socket
}

# client::session --
#
#	A whole session: connects, sends the commands one by one.
#
# Results:
#	List of all replies, the greeting first, as support::plain shows them.

proc ::client::session {port commands} {
    set socket [open $port]
    set replies [list [::support::plain [line $socket]]]
    try {
	foreach command $commands {
	    lappend replies [::support::plain [talk $socket $command]]
	}
    } finally {
	close $socket
    }
    return $replies
}

# client::answers --
#
#	The same without the greeting, for a user who has logged in.

proc ::client::answers {port user password commands} {
    return [lrange [session $port \
	    [linsert $commands 0 "USER $user" "PASS $password"]] 3 end]
}

# client::burst --
#
#	Sends bytes in one go, and returns every byte until the server closes.

proc ::client::burst {port bytes} {
    set socket [open $port]
    send $socket $bytes
    try {
	return [::support::plain [rest $socket]]
    } finally {
	close $socket
    }
}
