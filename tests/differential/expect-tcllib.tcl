# expect-tcllib.tcl --
#
#	What Tcllib's server answers, where it parts from ours and by which
#	rule. Its numbers and words are whatever Tcl's `expr`, `incr`,
#	`lindex` and `split` make of them, so these are asked here too.

# expect::tcllib --
#
#	The answer to one line, given without its end.

proc ::expect::tcllib {conn line} {
    upvar #0 ::expect::tcllib-$conn m
    switch -- $m(phase) {
	over {return CLOSED}
	deaf {return SILENT}
    }
    if {$m(quit)} {
	because after-quit 1
    }
    # The line is taken for a list. If it is none, an error in the handling of
    # the error ends the reading, but not the connection.
    if {[catch {lindex $line 0} verb]} {
	because list 1
	set m(phase) deaf
	return SILENT
    }
    set plain [Words $line]
    set words [list $verb [lindex $line 1] [lindex $line 2]]
    foreach word $words typed [lrange $plain 0 2] {
	if {$word ne $typed} {
	    because quoted 1
	}
    }
    set verb [string toupper $verb]
    switch -- $verb {
	QUIT {return [TcllibQuit $conn]}
	CAPA {
	    because capa
	    set text "USER\r\nPIPELINING\r\n"
	    if {$m(phase) eq "trans"} {
		append text "IMPLEMENTATION SERVER\r\n"
	    }
	    return [list {+OK Capability list follows} $text]
	}
	USER - PASS - APOP {return [TcllibLogin $conn $verb $words $line]}
	STAT - LIST - RETR - TOP - DELE - NOOP - RSET {
	    if {$m(phase) eq "auth"} {
		return [list {-ERR client not authenticated}]
	    }
	    return [TcllibMail $conn $verb {*}[lrange $words 1 2]]
	}
	UIDL {because uidl}
    }
    if {$verb ne [Shown [lindex $plain 0]]} {
	because echo
    }
    return [list "-ERR unknown command '$verb'"]
}

# An error in a command closes the connection without a word.
proc ::expect::Broken {conn rule} {
    upvar #0 ::expect::tcllib-$conn m
    because $rule 1
    Release tcllib $conn
    set m(phase) over
    return CLOSED
}

# expect::quit --
#
#	The connections that were quit close, when all their input is taken.

proc ::expect::quit {conn} {
    upvar #0 ::expect::tcllib-$conn m
    if {$m(quit)} {
	Release tcllib $conn
	set m(phase) over
    }
}

proc ::expect::TcllibQuit {conn} {
    upvar #0 ::expect::tcllib-$conn m
    foreach n $m(marked) {
	if {[catch {incr n -1}]} {
	    return [Broken $conn number]
	}
	Delete tcllib $m(mailbox) [list [lindex $m(msgs) $n]]
    }
    set m(phase) update
    set m(quit) 1
    return [list {+OK HOST SERVER shutting down}]
}

proc ::expect::TcllibLogin {conn verb words line} {
    upvar #0 ::expect::tcllib-$conn m
    if {$m(phase) eq "trans"} {
	return [list {-ERR client already authenticated}]
    }
    # These two take the line apart in another way.
    set second [lindex [split $line] 1]
    switch -- $verb {
	USER {
	    if {$second ne [lindex $words 1]} {
		because blanks 1
	    }
	    set m(name) $second
	    set m(logon) user
	    return [list {+OK please send PASS command}]
	}
	PASS {
	    if {$m(logon) ne "user"} {
		# With the name of a login that failed.
		because pass-user 1
	    }
	    if {![regexp {^[ \t]*\S+[ \t](.*)$} $line - rest]} {
		set rest {}
	    }
	    if {$rest ne $second} {
		because pass-rest 1
	    }
	    set secret $second
	}
	APOP {
	    if {$m(logon) eq "user"} {
		return [list {-ERR login mechanism USER/PASS was chosen}]
	    }
	    set m(name) [lindex $words 1]
	    set secret [lindex $words 2]
	    if {[string match %^*% $secret]} {
		because apop-case 1
	    }
	    set secret [expr {[regexp {^%([^^].*)%$} $secret - it] ? $it : ""}]
	}
    }
    set m(logon) {}
    if {$verb eq "APOP" && [encoding convertto utf-8 $secret] ne $secret} {
	because apop-bytes 1
	set secret {}
    }
    if {![OursSecret $m(name) $secret]} {
	because auth-code
	set m(phase) auth
	return [list {-ERR authentication failed, sorry}]
    }
    return [TcllibOpen $conn [lindex [dict get $::world::users $m(name)] 1]]
}

proc ::expect::TcllibOpen {conn mailbox} {
    upvar #0 ::expect::tcllib-$conn m
    if {![dict exists $::world::mail $mailbox]} {
	return [Broken $conn closes]
    }
    if {[Held tcllib $mailbox]} {
	because in-use
	set m(phase) auth
	return [list "-ERR could not aquire lock for maildrop $m(name)"]
    }
    Open tcllib $conn $mailbox
    switch -glob -- $mailbox {
	../* {because base 1}
	br* {
	    because brackets 1
	    set m(msgs) {}
	}
	sub-box {
	    because directories 1
	    lappend m(msgs) m2-directory
	}
    }
    return [list {+OK congratulations}]
}

# Whether Tcllib takes a word for the number of a message that is not there.
proc ::expect::Refuses {conn word lowest} {
    upvar #0 ::expect::tcllib-$conn m
    if {$lowest && $word < 1 || $word > [llength $m(msgs)]} {
	# Tcl 8.6 takes 08 for text.
	if {[regexp {^0+[1-9][0-9]*$} $word]} {
	    because number 1
	}
	return 1
    }
    # Its test for marks only works while exactly one is set.
    if {[lsearch $word $m(marked)] >= 0} {
	return 1
    }
    if {[llength $m(marked)]} {
	because marked
    }
    if {![regexp {^[1-9][0-9]*$} $word]} {
	because [expr {$word < 1 ? "zero" : "number"}]
    }
    return 0
}

# The file of a message, as Tcllib's dbox finds it; an error if it fails.
proc ::expect::File {conn word} {
    upvar #0 ::expect::tcllib-$conn m
    if {$word < 1 || [llength $m(msgs)] < $word} {
	error "out of range"
    }
    incr word -1
    set file [lindex $m(msgs) $word]
    # Executed after QUIT, when it is deleted.
    variable left
    if {$m(quit) && $file ni $left(tcllib,$m(mailbox))} {
	error "could not read"
    }
    return $file
}

# The commands on messages.
proc ::expect::TcllibMail {conn verb word lines} {
    upvar #0 ::expect::tcllib-$conn m
    set count [llength $m(msgs)]
    set sizes [lmap file $m(msgs) {Size $m(mailbox) $file}]
    if {$verb in {STAT LIST} && [llength $m(marked)]} {
	because totals
    }
    switch -- $verb {
	NOOP {return [list {+OK }]}
	STAT {return [list "+OK $count [Sum $sizes]"]}
	RSET {
	    set m(marked) {}
	    return [list "+OK $count messages waiting"]
	}
	RETR {return [TcllibRetr $conn $word]}
	TOP {return [TcllibTop $conn $word $lines]}
    }
    if {$verb eq "LIST" && $word eq {}} {
	set n 0
	return [list "+OK $count messages" \
		[join [lmap size $sizes {string cat "[incr n] $size\r\n"}] {}]]
    }
    if {[Refuses $conn $word 1]} {
	return [list {-ERR no such message}]
    }
    if {$verb eq "LIST"} {
	if {[catch {File $conn $word} file]} {
	    return [Broken $conn number]
	}
	return [list "+OK $word [Size $m(mailbox) $file]"]
    }
    if {[llength $m(marked)] || ![regexp {^[1-9][0-9]*$} $word]} {
	because [expr {[llength $m(marked)] ? "marked" : "number"}] 1
    }
    lappend m(marked) $word
    return [list "+OK message $word deleted"]
}

proc ::expect::TcllibRetr {conn word} {
    upvar #0 ::expect::tcllib-$conn m
    if {[Refuses $conn $word 0]} {
	return [list {-ERR no such message}]
    }
    if {$word eq {}} {
	# The size of everything, and then nothing.
	set size [Sum [lmap file $m(msgs) {Size $m(mailbox) $file}]]
	Broken $conn zero
	return [list "+OK $size octets" CLOSED]
    }
    if {[catch {File $conn $word} file]} {
	return [Broken $conn [expr {$word < 1 ? "zero" : "number"}]]
    }
    set size [Size $m(mailbox) $file]
    if {[string match *-directory $file]} {
	Broken $conn directories
	return [list "+OK $size octets" CLOSED]
    }
    because whole
    return [list "+OK $size octets" [::world::rebuilt $m(mailbox) $file 0]]
}

proc ::expect::TcllibTop {conn word lines} {
    upvar #0 ::expect::tcllib-$conn m
    if {[Refuses $conn $word 0]} {
	return [list {-ERR no such message}]
    }
    if {$lines eq {}} {
	return [list {-ERR missing argument: #lines to read}]
    }
    if {$lines < 0} {
	return [list {-ERR number of lines has to be greater than or equal to zero.}]
    }
    if {$lines == 0} {
	because top
	return [TcllibRetr $conn $word]
    }
    # The answer has begun when the arguments turn out to be none.
    if {[catch {File $conn $word} file] || [catch {incr lines}]} {
	Broken $conn [expr {$word < 1 ? "zero" : "number"}]
	return [list {+OK } CLOSED]
    }
    if {[string match *-directory $file]} {
	Broken $conn directories
	return [list {+OK } CLOSED]
    }
    because top
    return [list {+OK } [::world::rebuilt $m(mailbox) $file 1]]
}
