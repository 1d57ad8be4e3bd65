# wire.tcl --
#
#	The sockets of play.tcl: quick clients that know what to wait for.

# Opens a connection to both servers and checks the greetings.
proc ::play::Connect {conn} {
    variable child
    variable port
    variable socket
    variable stamp
    variable faults
    ::expect::connect $conn
    foreach side {ours tcllib} {
	set channel [socket 127.0.0.1 $port($side)]
	set socket($side,$conn) $channel
	variable bytes
	variable ended
	set bytes($channel) {}
	set ended($channel) 0
	fconfigure $channel -blocking 0 -translation binary -buffering none
	fileevent $channel readable [list ::play::Readable $channel]
	set greeting [lindex [Take $side $conn {{}}] 0]
	set pid [pid $child($side)]
	if {![regexp {^\+OK HOST SERVER ready (<\d+_srv_(\d+)@(.*)>)$} $greeting - stamp($side,$conn) process host]
		|| $process ne $pid || $host ne "HOST"} {
	    lappend faults "$side: greeting $greeting"
	}
	regsub HOST>$ $stamp($side,$conn) [info hostname]> stamp($side,$conn)
    }
}

proc ::play::Readable {channel} {
    variable bytes
    variable ended
    variable ready
    if {[catch {append bytes($channel) [read $channel]}] || [eof $channel]} {
	set ended($channel) 1
	fileevent $channel readable {}
    }
    incr ready
}

# Puts digests into a line.
proc ::play::Digests {side conn line} {
    variable stamp
    if {[string match -nocase *apop* $line] && [regexp {%(\^?)([^% ]+)%} $line token upper secret]} {
	set digest [::md5::md5 -hex $stamp($side,$conn)[encoding convertto utf-8 $secret]]
	set digest [expr {$upper eq {} ? [string tolower $digest] : [string toupper $digest]}]
	set line [string map [list $token $digest] $line]
    }
    return $line
}

# Sends to a server; it may have closed, or not be there any more.
proc ::play::Send {side conn text slowly} {
    variable socket
    catch {
	foreach piece [expr {$slowly ? [split $text {}] : [list $text]}] {
	    puts -nonewline $socket($side,$conn) $piece
	    if {$slowly} {
		update
	    }
	}
    }
}

# Takes an answer of the shape that is expected, whatever it says.
proc ::play::Take {side conn expected} {
    variable socket
    variable bytes
    variable ended
    set channel $socket($side,$conn)
    if {$expected eq "SILENT"} {
	Silence $side $channel
    } else {
	Wait {[string first \n $::play::bytes($channel)] >= 0 || $::play::ended($channel)}
    }
    set end [string first \n $bytes($channel)]
    if {$end < 0} {
	if {$bytes($channel) ne {}} {
	    return [list "a broken line: $bytes($channel)"]
	}
	return [expr {$ended($channel) ? "CLOSED" : "SILENT"}]
    }
    set line [Plain [string range $bytes($channel) 0 $end-1]]
    set bytes($channel) [string range $bytes($channel) $end+1 end]
    if {[string index $line end] ne "\r"} {
	return [list "no CRLF after: $line"]
    }
    set line [string range $line 0 end-1]
    if {[string match {+OK * UID} [lindex $expected 0]]} {
	regsub { [!-~]{1,70}$} $line { UID} line
    }
    if {[llength $expected] < 2} {
	return [list $line]
    }
    set text [Plain [Text $channel]]
    if {[string match "* UID\r\n" [lindex $expected 1]]} {
	regsub -all -line { [!-~]{1,70}\r$} $text " UID\r" text
    }
    return [list $line $text]
}

# A text up to its final dot.
proc ::play::Text {channel} {
    variable bytes
    variable ended
    Wait {[::play::End $channel] >= 0 || $::play::ended($channel)}
    set end [End $channel]
    if {$end < 0} {
	return [expr {$bytes($channel) eq {} ? "CLOSED" : "a broken text: $bytes($channel)"}]
    }
    set text [string range $bytes($channel) 0 [expr {$end - 1}]]
    set bytes($channel) [string range $bytes($channel) $end+3 end]
    return $text
}

proc ::play::End {channel} {
    variable bytes
    if {[string range $bytes($channel) 0 2] eq ".\r\n"} {
	return 0
    }
    set at [string first \r\n.\r\n $bytes($channel)]
    return [expr {$at < 0 ? -1 : $at + 2}]
}

# What must differ from run to run, put into words.
proc ::play::Plain {text} {
    regsub -all {tcllib/pop3d-[0-9.]+} $text SERVER text
    return [string map [list [info hostname] HOST] $text]
}

# Serves events until a condition holds or the time is over.
proc ::play::Wait {condition {limit 10000}} {
    variable ready
    set timer [after $limit {set ::play::late 1; incr ::play::ready}]
    set ::play::late 0
    while {![uplevel 1 [list expr $condition]] && !$::play::late} {
	vwait ::play::ready
    }
    after cancel $timer
}

# Waits long enough to say that no answer comes: until a server that runs in
# one thread has served all its events.
proc ::play::Silence {side channel} {
    variable child
    variable quiet
    ::child::evaluate $child($side) {update; update}
    Wait {$::play::bytes($channel) ne {} || $::play::ended($channel)} $quiet
}

# The client closes.
proc ::play::Drop {conn} {
    variable socket
    variable bytes
    variable ended
    foreach side {ours tcllib} {
	set channel $socket($side,$conn)
	close $channel
	unset bytes($channel) ended($channel) socket($side,$conn)
    }
    ::expect::drop $conn
}
