# check.tcl --
#
#	The package pop3d::check: calls every method of a script's users or
#	mailboxes, and says in words what would go wrong in a server.

package require Tcl 8.6-
package require pop3d 1.10

namespace eval ::pop3d::check {
    namespace export auth storage
    namespace ensemble create

    # How long one callback, or one answer of the server, may take, in
    # milliseconds.
    variable patience 60000
    # Number of coroutines made so far.
    variable calls 0
    # Number of a call -> code, result and options, once it has returned.
    variable outcome
    array set outcome {}
}

# pop3d::check auth --
#
#	Checks a command prefix for -auth.
#
# Arguments:
#	prefix		the command prefix
#	user		the name of a user that it knows
#	password	the user's password, if that is to be compared
#
# Results:
#	A list of findings: sentences that begin with the method's name. Empty
#	if nothing is wrong.

proc ::pop3d::check::auth {prefix user args} {
    if {[llength $args] > 1} {
	return -code error -errorcode {TCL WRONGARGS} \
	    "wrong # args: should be \"pop3d::check auth prefix user ?password?\""
    }
    set stranger "$user-[clock clicks]"
    set found {}
    foreach {name expected} [list $user 1 $stranger 0] {
	lassign [Call {*}$prefix exists $name] code result
	if {$code} {
	    lappend found "exists: raises an error for \"$name\": $result"
	} elseif {![string is boolean -strict $result]} {
	    lappend found "exists: returns \"[Short $result]\" for \"$name\"; expected a boolean"
	} elseif {!!$result != $expected} {
	    lappend found [expr {$expected
		? "exists: says that there is no user \"$name\""
		: "exists: says that there is a user \"$name\", whose name was made up"}]
	}
    }
    lassign [Call {*}$prefix lookup $user] code result
    if {$code} {
	lappend found "lookup: raises an error for \"$user\": $result"
    } elseif {![string is list $result] || [llength $result] < 2} {
	# Not what it returned: a password may be in it.
	lappend found "lookup: returns no list of a password and a storage reference for \"$user\""
    } else {
	if {[llength $args] && [lindex $result 0] ne [lindex $args 0]} {
	    lappend found "lookup: returns another password for \"$user\""
	}
	if {[lindex $result 1] eq ""} {
	    lappend found "lookup: returns an empty storage reference for \"$user\""
	}
    }
    # An empty list is no user, too.
    lassign [Call {*}$prefix lookup $stranger] code result
    if {!$code && $result ne {}} {
	lappend found "lookup: returns something for \"$stranger\", whose name was made up; expected an error, or an empty list"
    }
    return $found
}

# pop3d::check storage --
#
#	Checks a command prefix for -storage.
#
# Arguments:
#	prefix		the command prefix
#	mailbox		a storage reference. The mailbox should be a copy with a
#			few messages: the last of them is deleted.
#
# Results:
#	A list of findings, as of auth.

proc ::pop3d::check::storage {prefix mailbox} {
    set found [Lock $prefix $mailbox]
    if {[llength $found]} {return $found}

    # A second session must be kept out.
    lassign [Call {*}$prefix lock $mailbox] code result
    if {!$code && [string is true -strict $result]} {
	lappend found "lock: lets a second session in while one has the mailbox locked"
	Call {*}$prefix unlock $mailbox
	# That may have been the only lock.
	Call {*}$prefix lock $mailbox
    }
    lassign [Call {*}$prefix stat $mailbox] code count
    if {$code || ![IsCount $count]} {
	lappend found [Bad stat $code $count "a number of messages"]
	return [concat $found [Unlock $prefix $mailbox]]
    }
    set sizes {}
    lappend found {*}[Sizes $prefix $mailbox $count sizes]
    lappend found {*}[Gets $prefix $mailbox $count]
    set uids {}
    lappend found {*}[Uids $prefix $mailbox $count uids]
    lappend found {*}[Unlock $prefix $mailbox]

    lappend found {*}[Session $prefix $mailbox $count $sizes]
    if {$count > 0} {
	lappend found {*}[Delete $prefix $mailbox $count $uids]
    }
    # A fault that shows at several steps is one.
    return [dict keys [concat {*}[lmap finding $found {list $finding {}}]]]
}

# Lock --
#	Locks the mailbox; findings if it could not.

proc ::pop3d::check::Lock {prefix mailbox} {
    if {![string is list $prefix] || ![llength $prefix]} {
	return [list "lock: \"$prefix\" is no command prefix; expected a list of at least one word"]
    }
    lassign [Call {*}$prefix lock $mailbox] code result
    if {$code || ![string is boolean -strict $result]} {
	return [list [Bad lock $code $result "a boolean"]]
    }
    if {!$result} {
	return [list "lock: says that \"$mailbox\" is in use; nothing else could be checked"]
    }
    return
}

# Unlock --
#	Unlocks the mailbox, and sees that it can be locked again.

proc ::pop3d::check::Unlock {prefix mailbox} {
    set found {}
    lassign [Call {*}$prefix unlock $mailbox] code result
    if {$code} {
	lappend found "unlock: raises an error: $result"
    }
    lassign [Call {*}$prefix lock $mailbox] code result
    if {$code || ![string is true -strict $result]} {
	lappend found "unlock: leaves the mailbox locked; nobody could log in again"
    } else {
	Call {*}$prefix unlock $mailbox
    }
    return $found
}

# Sizes --
#	Checks size. Sets `sizes` in the caller to those of all messages, empty
#	where one is missing.

proc ::pop3d::check::Sizes {prefix mailbox count sizesVar} {
    upvar 1 $sizesVar sizes
    set found {}
    set sum 0
    for {set n 1} {$n <= $count} {incr n} {
	lassign [Call {*}$prefix size $mailbox $n] code octets
	if {$code || ![IsCount $octets]} {
	    lappend found [Bad size $code $octets "a number of octets" " for message $n"]
	    lappend sizes {}
	} else {
	    incr sum $octets
	    lappend sizes $octets
	}
    }
    lassign [Call {*}$prefix size $mailbox] code octets
    if {$code || ![IsCount $octets]} {
	lappend found [Bad size $code $octets "a number of octets" " for the mailbox"]
    } elseif {$octets != $sum && {} ni $sizes} {
	lappend found "size: is $octets for the mailbox, but $sum for all its messages together"
    }
    return $found
}

# Gets --
#	Checks what get returns.

proc ::pop3d::check::Gets {prefix mailbox count} {
    set found {}
    for {set n 1} {$n <= $count} {incr n} {
	lassign [Call {*}$prefix get $mailbox $n] code message
	set expected {a mime token, "file PATH", "data BYTES" or "text TEXT"}
	if {$code} {
	    lappend found [Bad get $code $message $expected " for message $n"]
	    continue
	}
	set form [expr {[string is list $message] && [llength $message] == 2 ? [lindex $message 0] : ""}]
	switch -- $form {
	    data {
		if {[regexp {[^\u0000-\u00ff]} [lindex $message 1]]} {
		    lappend found "get: returns data with a character above 255 for message $n; bytes were\
			expected, and text is returned as \"text TEXT\""
		}
	    }
	    file {
		if {![file readable [lindex $message 1]]} {
		    lappend found "get: returns the file \"[lindex $message 1]\" for message $n, which cannot be read"
		}
	    }
	    text {}
	    default {
		if {[catch {::mime::getproperty $message content}]} {
		    lappend found "get: returns \"[Short $message]\" for message $n; expected $expected"
		} else {
		    catch {::mime::finalize $message}
		}
	    }
	}
    }
    return $found
}

# Uids --
#	Checks uidl. Sets `uids` in the caller to the ids, if there are any.

proc ::pop3d::check::Uids {prefix mailbox count uidsVar} {
    upvar 1 $uidsVar uids
    lassign [Call {*}$prefix uidl $mailbox] code result
    if {$code} {
	return [list "uidl: raises an error: $result. Without it unique ids are digests of the\
	    messages, and \"get\" is called for every message"]
    }
    if {![string is list $result] || [llength $result] != $count} {
	return [list "uidl: returns \"[Short $result]\"; expected a list of $count unique ids"]
    }
    set found {}
    set n 0
    foreach id $result {
	incr n
	if {![regexp {^[!-~]{1,70}$} $id]} {
	    lappend found "uidl: gives message $n the id \"[Short $id]\"; expected 1 to 70 printable ASCII\
		characters without blanks"
	}
	lassign [Call {*}$prefix uidl $mailbox $n] code one
	if {$code || $one ne $id} {
	    lappend found "uidl: gives message $n the id \"[Short $id]\" in the list, but\
		[expr {$code ? "raises an error for it alone" : "\"[Short $one]\" alone"}]"
	}
    }
    foreach {id times} [Repeated $result] {
	lappend found "uidl: gives the id \"[Short $id]\" to $times messages"
    }
    set uids $result
    return $found
}

# Repeated --
#	The elements that a list has more than once, with how often.

proc ::pop3d::check::Repeated {list} {
    set counts {}
    foreach element $list {dict incr counts $element}
    return [dict filter $counts script {- times} {expr {$times > 1}}]
}

# Session --
#	Fetches every message through a server, and compares what comes with
#	what size announces.

proc ::pop3d::check::Session {prefix mailbox count sizes} {
    set server [::pop3d::new]
    set found {}
    $server configure -port 0 -socket {::socket -myaddr 127.0.0.1} -storage $prefix \
	-login [list ::pop3d::check::Admit $mailbox] -log ::pop3d::check::Ignore -logindelay 0
    try {
	$server up
	set socket [socket 127.0.0.1 [$server cget -port]]
	fconfigure $socket -blocking 0 -translation binary
	Line $socket
	set said [Ask $socket "USER check"]
	set said [Ask $socket "PASS check"]
	if {![string match "+OK*" $said]} {
	    return [list "lock: a session could not be opened: $said"]
	}
	for {set n 1} {$n <= $count} {incr n} {
	    set said [Ask $socket "RETR $n"]
	    if {![string match "+OK*" $said]} {
		lappend found "get: message $n could not be fetched: $said"
		continue
	    }
	    set octets [Body $socket]
	    set announced [lindex $sizes $n-1]
	    if {$announced ne {} && $announced != $octets} {
		lappend found "size: is $announced for message $n, but $octets octets are sent\
		    (each line end counts two)"
	    }
	}
	Ask $socket QUIT
    } trap {POP3D CHECK} {message} {
	lappend found "get: $message"
    } finally {
	catch {close $socket}
	$server destroy
    }
    return $found
}

# Delete --
#	Deletes the last message. The others must keep their ids.

proc ::pop3d::check::Delete {prefix mailbox count uids} {
    set found [Lock $prefix $mailbox]
    if {[llength $found]} {
	return [linsert [lrange $found 1 end] 0 "unlock: the mailbox stayed locked after a session"]
    }
    lassign [Call {*}$prefix uidl $mailbox] code again
    if {[llength $uids] && !$code && $again ne $uids} {
	lappend found "uidl: gives other ids in the next session; clients would fetch everything again"
    }
    lassign [Call {*}$prefix dele $mailbox [list $count]] code result
    if {$code} {
	lappend found "dele: raises an error for message $count: $result"
	return [concat $found [Unlock $prefix $mailbox]]
    }
    lappend found {*}[Unlock $prefix $mailbox]
    if {[llength [Lock $prefix $mailbox]]} {return $found}
    lassign [Call {*}$prefix stat $mailbox] code left
    if {$code || $left != $count - 1} {
	lappend found "dele: leaves \"[Short $left]\" messages of $count, after one was deleted"
    } elseif {[llength $uids]} {
	lassign [Call {*}$prefix uidl $mailbox] code after
	if {!$code && $after ne [lrange $uids 0 end-1]} {
	    lappend found "uidl: changes the ids of other messages when one is deleted"
	}
    }
    return [concat $found [Unlock $prefix $mailbox]]
}

# Admit --
#	The -login of the session: everybody, to the mailbox under test.

proc ::pop3d::check::Admit {mailbox attempt} {
    return $mailbox
}
proc ::pop3d::check::Ignore {args} {}

# Call --
#	Calls a callback as a server does: as a coroutine, which may yield. A list
#	of its return code, result and options.

proc ::pop3d::check::Call {args} {
    variable calls
    variable outcome
    variable patience
    set key [incr calls]
    coroutine ::pop3d::check::call#$key ::apply {{key words} {
	set code [catch {uplevel #0 $words} result options]
	set ::pop3d::check::outcome($key) [list $code $result $options]
    }} $key $args
    set timer [after $patience [list ::pop3d::check::GiveUp $key]]
    while {![info exists outcome($key)]} {vwait ::pop3d::check::outcome}
    after cancel $timer
    set said $outcome($key)
    unset outcome($key)
    return $said
}
proc ::pop3d::check::GiveUp {key} {
    variable outcome
    variable patience
    rename ::pop3d::check::call#$key {}
    set outcome($key) [list 1 "has not returned after $patience ms" {}]
}

# Line, Ask, Body --
#	The client's side of a session: a line; the answer to a command; the
#	octets of a message, as POP3 counts them.

proc ::pop3d::check::Line {socket} {
    variable patience
    set until [expr {[clock milliseconds] + $patience}]
    while {[gets $socket line] < 0} {
	if {[eof $socket] || [clock milliseconds] > $until} {
	    return -code error -errorcode {POP3D CHECK} "the session has ended in the middle of an answer"
	}
	fileevent $socket readable [list set ::pop3d::check::readable 1]
	set timer [after 1000 [list set ::pop3d::check::readable 0]]
	vwait ::pop3d::check::readable
	after cancel $timer
	fileevent $socket readable {}
    }
    return $line
}
proc ::pop3d::check::Ask {socket command} {
    puts -nonewline $socket "$command\r\n"
    flush $socket
    return [string trimright [Line $socket] \r]
}
proc ::pop3d::check::Body {socket} {
    set octets 0
    while {[set line [Line $socket]] ne ".\r"} {
	# The line end that gets took, without the dot that was stuffed.
	incr octets [expr {[string length $line] + 1 - [string match .* $line]}]
    }
    return $octets
}

proc ::pop3d::check::IsCount {value} {
    return [expr {[string is wideinteger -strict $value] && $value >= 0}]
}
proc ::pop3d::check::Short {value} {
    return [expr {[string length $value] > 60 ? "[string range $value 0 56]..." : $value}]
}

# Bad --
#	The finding of a method that raised an error, or returned a wrong type.

proc ::pop3d::check::Bad {method code result expected {of {}}} {
    if {$code} {return "$method: raises an error$of: $result"}
    return "$method: returns \"[Short $result]\"$of; expected $expected"
}

package provide pop3d::check [package provide pop3d]
