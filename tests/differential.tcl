# differential.tcl --
#
#	Plays the same dialogs against Tcllib's pop3d and ours, each in a
#	process of its own, and compares the replies. A difference must be one
#	of those listed in docs/DIFFERENCES.md: `explain` finds its number,
#	and checks that ours is what it should be.
#
#	differential.tcl ?SEED? ?COUNT?
#
#	Each dialog is a test; the summary is that of tcltest.

source [file join [file dirname [file normalize [info script]]] tcl support.tcl]

lassign [concat $argv [lrange {20240817 240} [llength $argv] end]] seed count

# alice has three messages, bob ten; carol's mailbox is empty, dave's locked.
set messages {}
for {set i 1} {$i <= 10} {incr i} {
    lappend messages "From: a@example.org\nSubject: number $i\n\n[string repeat "line\n" $i]"
}
set mail [dict create alice [lrange $messages 0 2] bob $messages carol {} dave [lrange $messages 0 0]]

set prelude [string map [list @MAIL@ [list $mail]] {
    set mail [dict map {user messages} @MAIL@ {
	set n 100
	concat {*}[lmap m $messages {list [incr n] $m}]
    }]
    proc restart {} {
	support::expected
	fixture::stop
	file delete -force {*}[glob -nocomplain -directory $::env(TMPDIR) *]
	fixture::start $::mail
	# Waiting and giving up would only take time here.
	catch {srv configure -logindelay 0 -failedlogins 0 -errors 0}
	boxes lock dave-box
	return [srv cget -port]
    }
}]

# Dialogs. -------------------------------------------------------------------------------

set fixed {
    {CAPA QUIT}
    {STAT LIST NOOP RSET {RETR 1} {TOP 1 1} {DELE 1} {LIST 1} QUIT}
    {{USER alice} {PASS secret} STAT LIST {LIST 1} {LIST 3} {LIST 4} {LIST 0} QUIT}
    {{USER alice} {PASS secret} {RETR 1} {RETR 2} {RETR 3} {RETR 4} QUIT}
    {{USER alice} {PASS secret} {TOP 1 0} {TOP 1 1} {TOP 2 1} {TOP 3 10} {TOP 4 1} {TOP 1} QUIT}
    {{USER alice} {PASS secret} {TOP 1 -1} {TOP 1 99999} QUIT}
    {{USER alice} {PASS secret} {DELE 1} STAT LIST {RETR 1} {DELE 1} RSET STAT QUIT}
    {{USER alice} {PASS secret} {DELE 1} {DELE 2} {RETR 1} {LIST 1} {TOP 1 1} {DELE 2} QUIT}
    {{USER alice} {PASS secret} {DELE 3} {DELE 2} {DELE 1} STAT LIST QUIT}
    {{USER alice} {PASS wrong} {USER alice} {PASS secret} STAT QUIT}
    {{USER nobody} {PASS secret} STAT QUIT}
    {{USER alice} {APOP alice 0} {PASS secret} STAT QUIT}
    {{APOP alice 0} {APOP nobody 0} {USER alice} {PASS secret} {APOP alice 0} QUIT}
    {{USER alice} {PASS secret} {USER bob} {PASS secret} STAT QUIT}
    {{USER dave} {PASS secret} {USER alice} {PASS secret} QUIT}
    {{USER carol} {PASS secret} STAT LIST {RETR 1} {LIST 1} {DELE 1} RSET QUIT}
    {{USER bob} {PASS secret} {RETR 10} {RETR 11} {LIST 10} {DELE 10} LIST QUIT}
    {{user alice} {pass secret} stat Noop {list 2} quit}
    {{USER alice extra} {PASS secret} QUIT}
    {{USER alice} {PASS secret} {STAT extra} {NOOP extra} {RSET extra} {LIST 1 extra} QUIT}
    {XYZZY {xyzzy plugh} AUTH STLS {LAST 1} QUIT}
    {{USER alice} {PASS secret} XYZZY LAST {XTND XMIT} QUIT}
    {{USER alice} {PASS secret} UIDL {UIDL 1} {UIDL 9} QUIT}
    {{PASS secret} QUIT}
    {{USER alice} {PASS secret word} QUIT}
    {{USER alice} {PASS secret} {RETR abc} {LIST abc} {DELE abc} QUIT}
    {{USER alice} {PASS secret} {DELE 1.0}}
    {{USER bob} {PASS secret} {DELE 010} {DELE 0x1} {DELE 1e0}}
    {{USER alice} {PASS secret} {RETR 0}}
    {{USER alice} {PASS secret} {RETR -1}}
    {{USER alice} {PASS secret} RETR}
    {{USER alice} {PASS secret} DELE {LIST -1} {DELE -1} TOP QUIT}
}
# Lines that are no Tcl lists hang Tcllib.
lappend fixed [list "USER \{abc"] [list "USER \"abc"] [list "USER alice" "PASS secret" "STAT \{"] \
    [list "\}" "USER alice" "PASS secret" "LIST \{1\}x"]

# A generator of our own: the same numbers in every Tcl.
proc random {below} {
    global seed
    set seed [expr {($seed * 1103515245 + 12345) & 0x7fffffff}]
    return [expr {($seed >> 8) % $below}]
}
proc pick {list} {
    return [lindex $list [random [llength $list]]]
}
proc generate {} {
    set commands {}
    set user [pick {alice alice alice bob bob carol dave nobody}]
    for {set n [random 3]} {$n > 0} {incr n -1} {
	lappend commands [pick {STAT LIST {RETR 1} CAPA NOOP XYZZY RSET {APOP alice 1} {DELE 1}}]
    }
    lappend commands "[pick {USER USER user}] $user" "PASS [pick {secret secret secret secret wrong}]"
    for {set n [expr {3 + [random 12]}]} {$n > 0} {incr n -1} {
	set number [pick {1 1 2 2 3 3 4 5 7 10 11 0 99}]
	lappend commands [pick [list STAT STAT LIST "LIST $number" "LIST $number" "RETR $number" \
	    "RETR [expr {$number ? $number : 1}]" "TOP $number [random 5]" "DELE $number" \
	    "DELE $number" "dele $number" NOOP noop RSET CAPA "TOP $number" XYZZY "USER bob" \
	    "PASS secret" "UIDL $number" "LIST [pick {abc 1.5 99999999999999999999 {}}]"]]
    }
    lappend commands QUIT
    return $commands
}

# Playing. -----------------------------------------------------------------------------------

# What is known of a session, so that a difference can be judged.
proc fresh {} {
    return {user {} in 0 marked {}}
}

# One reply: a line, or line and text; or `silent` or `closed`.
proc reply {client server command} {
    set arrived {[string first \n $::client::buffer($client)] >= 0 || $::client::ended($client)}
    if {[catch {::support::await $arrived 200}]} {
	# A connection of Tcllib's that hangs does so after a background error.
	::support::await "$arrived || \[child::evaluate $server {llength \$::support::bgerrors}\]"
	if $arrived {} else {return silent}
    }
    if {[catch {client::line $client} line]} {
	return closed
    }
    set words [regexp -all -inline {\S+} $command]
    set verb [string toupper [lindex $words 0]]
    set long [switch -- $verb {
	CAPA - RETR - TOP {expr 1}
	LIST - UIDL {expr {[llength $words] == 1}}
	default {expr 0}
    }]
    if {$long && [string match +OK* $line]} {
	if {[catch {client::body $client} text]} {
	    return closed
	}
	return [list [support::plain $line] [support::plain $text]]
    }
    return [support::plain $line]
}

# What the message `n` of a user is on the wire, whole or cut.
proc wire {user n {lines all}} {
    set text [lindex [dict get $::mail $user] $n-1]
    if {$lines ne "all"} {
	set split [string first \n\n $text]
	set body [split [string trimright [string range $text $split+2 end] \n] \n]
	set text [string range $text 0 $split+1]
	foreach line [lrange $body 0 $lines-1] {append text $line\n}
    }
    return [string map {\n \r\n} $text]
}

proc sizes {session} {
    set n 0
    set result {}
    foreach text [dict get $::mail [dict get $session user]] {
	if {[incr n] ni [dict get $session marked]} {
	    lappend result $n [string length $text]
	}
    }
    return $result
}

# explain --
#
#	The number of the listed difference between two replies that are not
#	equal, or nothing if it is not a listed one.

proc explain {session command ours theirs} {
    set words [regexp -all -inline {\S+} $command]
    set verb [string toupper [lindex $words 0]]
    set first [lindex $words 1]
    set refused [string match -ERR* $ours]
    set dead [expr {$theirs in {silent closed}}]
    set marked [dict get $session marked]
    set in [dict get $session in]

    # 2: lines that are no lists; numbers that are not decimal digits.
    if {[catch {llength $command}]} {
	return [expr {$dead && $ours ni {silent closed} ? 2 : {}}]
    }
    if {$in && $verb in {RETR LIST DELE TOP} && ![regexp {^[1-9]\d*$} $first] && [llength $words] > 1} {
	if {$refused} {
	    return [expr {[regexp {^-?\d+$} $first] && $verb in {RETR TOP} ? 5 : 2}]
	}
    }
    # 010 is ten, there eight in Tcl 8.6, and repeated as it came.
    if {$in && $verb eq "DELE" && [regexp {^0+([1-9]\d*)$} $first - decimal]
	    && $ours eq "+OK message $decimal deleted"} {
	return 2
    }
    if {$in && $verb in {RETR TOP} && [llength $words] == 1 && $refused && $dead} {
	return 2
    }
    # The response code in front of Tcllib's text (part 1, "Replies").
    if {$ours eq [string map {-ERR {-ERR [IN-USE]}} $theirs]} {
	return IN-USE
    }
    # 4: what is marked is left out and refused.
    if {$in && $marked ne {}} {
	set left [sizes $session]
	switch -- $verb {
	    STAT {
		if {$ours eq "+OK [expr {[llength $left] / 2}] [tcl::mathop::+ {*}[dict values $left]]"} {
		    return 4
		}
	    }
	    LIST {
		if {[llength $words] == 1} {
		    set text {}
		    dict for {n size} $left {append text "$n $size\r\n"}
		    if {$ours eq [list "+OK [expr {[llength $left] / 2}] messages" $text]} {return 4}
		}
	    }
	}
	if {$verb in {LIST RETR TOP DELE} && $first in $marked && $ours eq "-ERR no such message"} {
	    return 4
	}
    }
    # 5: RFC 1939 and 2449.
    switch -- $verb {
	UIDL {
	    if {$theirs eq "-ERR unknown command 'UIDL'"} {return 5}
	}
	CAPA {
	    if {[lindex $ours 0] eq [lindex $theirs 0]} {return 5}
	}
	PASS {
	    if {[dict get $session user] eq {} && $refused} {return 5}
	    # The rest of the line is the password.
	    if {[llength $words] > 2 && $ours eq "-ERR authentication failed, sorry"} {return 5}
	}
	RETR {
	    # 1: the stored bytes.
	    if {[lindex $ours 0] eq [lindex $theirs 0]
		    && [lindex $ours 1] eq [wire [dict get $session user] $first]} {return 1}
	}
	TOP {
	    if {[lindex $ours 0] eq "+OK " && [regexp {^\d+$} [lindex $words 2]]
		    && [lindex $ours 1] eq [wire [dict get $session user] $first [lindex $words 2]]} {
		return [expr {[lindex $theirs 0] eq "+OK " ? 1 : 5}]
	    }
	}
    }
    return {}
}

# Follows a command whose reply (ours) was this one.
proc follow {session command reply} {
    set words [regexp -all -inline {\S+} $command]
    set ok [string match +OK* [lindex $reply 0]]
    switch -- [string toupper [lindex $words 0]] {
	USER {
	    if {$ok} {dict set session user [lindex $words 1]}
	}
	PASS {
	    if {$ok} {
		dict set session in 1
	    } elseif {![dict get $session in]} {
		dict set session user {}
	    }
	}
	DELE {
	    if {$ok} {dict lappend session marked [lindex $words 1]}
	}
	RSET {
	    if {$ok} {dict set session marked {}}
	}
    }
    return $session
}

# play --
#
#	One dialog against both.
#
# Results:
#	List of differences that are not listed; `found` counts those that are.

proc play {commands} {
    global ours theirs found compared
    set clients [list [client::open [child::evaluate $ours restart]] \
	[client::open [child::evaluate $theirs restart]]]
    set wrong {}
    set session [fresh]
    try {
	set greetings [lmap c $clients {support::plain [client::line $c]}]
	if {[lindex $greetings 0] ne [lindex $greetings 1]} {
	    lappend wrong [list greeting {*}$greetings]
	}
	foreach command $commands {
	    foreach c $clients {client::send $c $command\r\n}
	    lassign [lmap c $clients server [list $ours $theirs] {reply $c $server $command}] our their
	    incr compared
	    if {$our ne $their} {
		set number [explain $session $command $our $their]
		if {$number eq {}} {
		    lappend wrong [list $command $our $their]
		} else {
		    dict incr found $number
		}
	    }
	    # After that the two sessions have no longer the same past.
	    if {$their in {silent closed} || $our in {silent closed}
		    || [string match +OK* [lindex $our 0]] != [string match +OK* [lindex $their 0]]} {
		break
	    }
	    set session [follow $session $command $our]
	}
    } finally {
	foreach c $clients {client::close $c}
    }
    return $wrong
}

# ----------------------------------------------------------------------------------------------

set ours [child::start $prelude {} ours]
set theirs [child::start $prelude {} tcllib]
set found {}
set compared 0
set passed 0
set failed 0

set dialogs $fixed
for {set i 0} {$i < $count} {incr i} {
    lappend dialogs [generate]
}
foreach dialog $dialogs {
    if {[catch {play $dialog} wrong]} {
	set wrong [list [list error $wrong $::errorInfo]]
    }
    if {$wrong eq {}} {
	incr passed
	continue
    }
    incr failed
    puts "==== dialog FAILED: [join $dialog { | }]"
    foreach difference $wrong {
	lassign $difference command our their
	puts "     $command\n       ours:   [string range [list $our] 0 300]\n       Tcllib: [string range [list $their] 0 300]"
    }
}
child::stop $ours
child::stop $theirs

puts "$compared replies compared; listed differences found, by number:"
foreach number [lsort -dictionary [dict keys $found]] {
    puts "  $number: [dict get $found $number]"
}
puts "differential.tcl:\tTotal\t[expr {$passed + $failed}]\tPassed\t$passed\tSkipped\t0\tFailed\t$failed"
support::sweep
exit [expr {$failed > 0}]
