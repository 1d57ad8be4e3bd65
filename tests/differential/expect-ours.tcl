# expect-ours.tcl --
#
#	What our server answers: Tcllib's replies, with our deliberate differences.

# expect::ours --
#
#	The answer to one line, given without its end.

proc ::expect::ours {conn line} {
    upvar #0 ::expect::ours-$conn m
    if {$m(phase) eq "over"} {
	return CLOSED
    }
    if {[string length [encoding convertto utf-8 $line]] > 1024} {
	because long
	return [Bad m {-ERR command line too long}]
    }
    set words [Words $line]
    set verb [string toupper [lindex $words 0]]
    switch -- $verb {
	QUIT {return [OursQuit $conn]}
	CAPA {
	    set m(errors) 0
	    set text "TOP\r\nUIDL\r\nUSER\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n"
	    if {$m(phase) eq "trans"} {
		append text "IMPLEMENTATION SERVER\r\n"
	    }
	    return [list {+OK Capability list follows} $text]
	}
	USER - PASS - APOP {return [OursLogin $conn $verb $words $line]}
	STAT - LIST - UIDL - RETR - TOP - DELE - NOOP - RSET {
	    if {$m(phase) eq "auth"} {
		return [Bad m {-ERR client not authenticated}]
	    }
	    set reply [OursMail $conn $verb [lindex $words 1] [lindex $words 2]]
	    if {[regexp {^-ERR (missing|number of)} [lindex $reply 0]]} {
		return [Bad m [lindex $reply 0]]
	    }
	    set m(errors) 0
	    return $reply
	}
    }
    return [Bad m "-ERR unknown command '[Shown [lindex $words 0]]'"]
}

# Words separated by blanks, as a list.
proc ::expect::Words {line} {
    return [regexp -all -inline {[^ \t]+} $line]
}

# An unknown verb: 40 bytes of it, printable and in upper case.
proc ::expect::Shown {verb} {
    set bytes [string range [encoding convertto utf-8 $verb] 0 39]
    regsub -all {[^!-~]} $bytes ? bytes
    return [string toupper $bytes]
}

# Twenty bad commands in a row end a session.
proc ::expect::Bad {name reply} {
    upvar 1 $name m
    if {[incr m(errors)] >= 20} {
	because errors 1
	set m(phase) over
	return [list {-ERR too many errors, closing the connection}]
    }
    return [list $reply]
}

proc ::expect::OursQuit {conn} {
    upvar #0 ::expect::ours-$conn m
    if {$m(phase) eq "trans"} {
	Delete ours $m(mailbox) [lmap n $m(marked) {lindex $m(msgs) $n-1}]
	Release ours $conn
    }
    set m(phase) over
    return [list {+OK HOST SERVER shutting down}]
}

proc ::expect::OursLogin {conn verb words line} {
    upvar #0 ::expect::ours-$conn m
    if {$m(phase) eq "trans"} {
	return [Bad m {-ERR client already authenticated}]
    }
    set name [lindex $words 1]
    switch -- $verb {
	USER {
	    set m(name) $name
	    set m(named) 1
	    set m(errors) 0
	    return [list {+OK please send PASS command}]
	}
	PASS {
	    if {!$m(named)} {
		return [Bad m {-ERR authentication failed, sorry}]
	    }
	    # All that follows the first blank.
	    if {![regexp {^[ \t]*\S+[ \t](.*)$} $line - secret]} {
		set secret {}
	    }
	    set right [OursSecret $m(name) $secret]
	}
	APOP {
	    if {$m(named)} {
		return [Bad m {-ERR login mechanism USER/PASS was chosen}]
	    }
	    set m(name) $name
	    # %secret% stands for the right digest, %^secret% for it in upper case.
	    set digest [string map {%^ %} [lindex $words 2]]
	    set right [expr {[string match %*% $digest]
		    && [OursSecret $name [string trim $digest %]]}]
	}
    }
    set m(named) 0
    return [OursOpen $conn $right]
}

proc ::expect::OursSecret {user secret} {
    return [expr {[dict exists $::world::users $user]
	    && [lindex [dict get $::world::users $user] 0] eq $secret}]
}

proc ::expect::OursOpen {conn right} {
    upvar #0 ::expect::ours-$conn m
    if {!$right} {
	if {[incr m(failed)] >= 5} {
	    because logins 1
	    set m(phase) over
	}
	return [list {-ERR [AUTH] authentication failed, sorry}]
    }
    set mailbox [lindex [dict get $::world::users $m(name)] 1]
    set m(errors) 0
    # Not there, or outside of the base directory.
    if {![dict exists $::world::mail $mailbox] || [string match ../* $mailbox]} {
	return [list {-ERR [SYS/PERM] service unavailable: the maildrop could not be opened}]
    }
    if {[Held ours $mailbox]} {
	return [list "-ERR \[IN-USE\] could not aquire lock for maildrop $m(name)"]
    }
    Open ours $conn $mailbox
    return [list {+OK congratulations}]
}

# The commands on messages.
proc ::expect::OursMail {conn verb word lines} {
    upvar #0 ::expect::ours-$conn m
    set live {}
    for {set n 1} {$n <= [llength $m(msgs)]} {incr n} {
	if {$n ni $m(marked)} {lappend live $n}
    }
    set sizes [lmap n $live {Size $m(mailbox) [lindex $m(msgs) $n-1]}]
    switch -- $verb {
	NOOP {return [list {+OK }]}
	STAT {return [list "+OK [llength $live] [Sum $sizes]"]}
	RSET {
	    set m(marked) {}
	    return [list "+OK [llength $m(msgs)] messages waiting"]
	}
    }
    if {$word eq {}} {
	switch -- $verb {
	    LIST {
		return [list "+OK [llength $live] messages" \
			[join [lmap n $live size $sizes {string cat "$n $size\r\n"}] {}]]
	    }
	    UIDL {
		# An identifier's value is not the matter here.
		return [list {+OK unique-id listing follows} \
			[join [lmap n $live {string cat "$n UID\r\n"}] {}]]
	    }
	    TOP {return [list {-ERR missing argument: #lines to read}]}
	}
    }
    # Decimal digits only.
    if {![regexp {^0*([1-9][0-9]*)$} $word - n] || $n ni $live} {
	return [list {-ERR no such message}]
    }
    set file [lindex $m(msgs) $n-1]
    set bytes [dict get $::world::mail $m(mailbox) $file]
    set size [string length $bytes]
    switch -- $verb {
	LIST {return [list "+OK $n $size"]}
	UIDL {return [list "+OK $n UID"]}
	RETR {return [list "+OK $size octets" [::world::wire $bytes]]}
	DELE {
	    lappend m(marked) $n
	    return [list "+OK message $n deleted"]
	}
    }
    if {$lines eq {}} {
	return [list {-ERR missing argument: #lines to read}]
    }
    if {![regexp {^0*([0-9]+)$} $lines - k]} {
	return [list {-ERR number of lines has to be greater than or equal to zero.}]
    }
    return [list {+OK } [::world::wire $bytes [expr {min($k, 1000000)}]]]
}
