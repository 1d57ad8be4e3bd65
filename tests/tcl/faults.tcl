# faults.tcl --
#
#	A server whose system calls fail, are waited in, or end its process at
#	a chosen one, by tests/tools/faults.c; and the judge of its sessions.
#	For faults.test.
#
#	One case is a dict: store, at (which call), action (an error number,
#	kill or pause), also (how many calls more), lacks (1: files are not in memory,
#	2: there are no hard links; or their sum).

namespace eval ::faults {
    variable library {}
    variable why {}		;# why there is none
    variable server {}		;# the child
    variable port
    variable dir		;# FAULTS_DIR: the base of the mailboxes
    variable file		;# FAULTS_FILE

    # Error numbers of Linux, on all its processors.
    variable errors {EIO 5 ENOSPC 28 EACCES 13 EMFILE 24 ESTALE 116}

    # Messages, those that the two kinds of stores have: number -> bytes. Larger than
    # what is read at once, empty, without a last line end.
    variable messages
    for {set line 0} {$line < 3000} {incr line} {append large ".line $line of the second\n"}
    for {set line 0} {$line < 2500} {incr line} {append larger "line $line of the third\r\n"}
    set messages [dict create 1 "Subject: one\n\n.first\n" 2 "Subject: two\n\n$large" \
	    3 "Subject: three\r\n\r\n$larger" 4 {} 5 "Subject: five\n\nno end"]
    unset large larger line

    # store -> command that makes it, its options, and how the files are named.
    variable stores {
	dbox		{dbox {-octets file} m%d}
	dbox-wire	{dbox {-octets wire} m%d}
	maildir		{maildir {} new/170000000%d.M1P1.host}
	maildir-sizes	{maildir {} cur/170000000%d.M1P1.host,S=%s,W=%s:2,S}
    }
}

# faults::build --
#
#	Compiles the library and tries it; whether that works here. If not,
#	faults::why tells why.

proc ::faults::build {} {
    variable library
    variable why
    set source [file join $::support::root tests tools faults.c]
    set built [file join [::support::tempdir] faults.so]
    if {[auto_execok cc] eq {}} {
	set why "there is no cc"
    } elseif {[catch {exec cc -std=gnu11 -O1 -shared -fPIC -o $built $source -ldl 2>@1} said]} {
	set why "faults.c cannot be built here: $said"
    } else {
	set library $built
	variable dir [::support::tempdir]
	::support::write [file join $dir try] x
	Control 1 5 0 0
	if {[catch {exec env {*}[Environment] cat [file join $dir try]} said]
		&& [string match *Input/output* $said]} {
	    return 1
	}
	set why "seccomp does not work here: $said"
    }
    puts "skipped: $why"
    return 0
}

proc ::faults::Environment {} {
    variable library
    variable dir
    variable file
    return [list LD_PRELOAD=$library FAULTS_DIR=$dir FAULTS_FILE=$file]
}

# Says what the next calls meet, and counts from 0.
proc ::faults::Control {at action also lacks} {
    variable file
    if {![info exists file]} {
	set file [file join [::support::tempdir] control]
	::support::write $file [string repeat \0 28]
    }
    set channel [open $file r+b]
    puts -nonewline $channel [binary format n7 [list $at $action 0 0 -1 $also $lacks]]
    close $channel
}

# faults::Seen --
#
#	What has been counted: a dict of at, action, count, paused, struck
#	(the number of the call), also, lacks.

proc ::faults::Seen {} {
    variable file
    binary scan [::support::slurp $file] n7 values
    foreach key {at action count paused struck also lacks} value $values {
	dict set seen $key $value
    }
    return $seen
}

proc ::faults::Resume {} {
    variable file
    set channel [open $file r+b]
    seek $channel 12
    puts -nonewline $channel [binary format n 0]
    close $channel
}

# faults::arm --
#
#	Strikes the call that a case names, from now on.

proc ::faults::arm {case} {
    variable errors
    set action [dict get $case action]
    set codes [dict merge $errors {kill -1 pause -2 EAGAIN 11 EINVAL 22 none 0}]
    Control [dict get $case at] [dict get $codes $action] [dict get $case also] \
	    [dict get $case lacks]
}

proc ::faults::disarm {} {
    Control 0 0 0 0
}

# faults::start --
#
#	Starts a server with one user and one mailbox of a store.

proc ::faults::start {store} {
    variable server
    variable port
    variable dir [::support::tempdir]
    variable stores
    lassign [dict get $stores $store] kind options
    variable uids
    array unset uids
    disarm
    fill $store
    set server [child::start {} [list env {*}[Environment] [info nameofexecutable]]]
    child::evaluate $server [string map [list @kind $kind @options $options @dir [list $dir]] {
	package require pop3d::@kind
	set lines {}
	proc note {level text fields} {if {$level in {error warning}} {lappend ::lines $text}}
	pop3d::new srv
	pop3d::udb::new users
	pop3d::@kind::new boxes
	boxes base @dir
	if {"@options" ne ""} {boxes configure @options}
	users add alice secret box
	srv configure -port 0 -auth ::users -storage ::boxes -logindelay 0 -log note
	srv up
    }]
    set port [child::evaluate $server {srv cget -port}]
}

proc ::faults::stop {} {
    variable server
    disarm
    Resume
    if {$server ne {}} {child::stop $server}
    set server {}
}

# faults::fill --
#
#	Writes the mailbox anew, beside the lock file and what else is ours.

proc ::faults::fill {store} {
    variable dir
    variable messages
    set box [file join $dir box]
    foreach place {new cur tmp} {
	if {[string match maildir* $store]} {file mkdir [file join $box $place]}
    }
    file mkdir $box
    foreach path [Files] {file delete $path}
    dict for {number bytes} $messages {
	# Of one age, so that unique ids stay.
	file mtime [::support::write [Path $store $number] $bytes] 1700000000
    }
}

proc ::faults::Path {store number} {
    variable dir
    variable stores
    variable messages
    set bytes [dict get $messages $number]
    set size [string length $bytes]
    return [file join $dir box [format [lindex [dict get $stores $store] 2] \
	    $number $size [Octets $bytes]]]
}

proc ::faults::Files {} {
    variable dir
    return [glob -nocomplain -types f -directory [file join $dir box] * {{new,cur}/*}]
}

# What a client gets of a message, dots still stuffed, and its octets.
proc ::faults::Wire {bytes} {
    set text [string map {\r\n \r\n \n \r\n} $bytes]
    if {$text eq {}} {return {}}
    if {[string range $text end-1 end] ne "\r\n"} {append text \r\n}
    return $text
}
proc ::faults::Octets {bytes} {
    return [string length [Wire $bytes]]
}

# Octets that may be announced of some bytes.
proc ::faults::Announced {store bytes} {
    return [expr {$store eq "dbox" ? [string length $bytes] : [Octets $bytes]}]
}

# faults::session --
#
#	Plays a whole session and judges each answer.
#
# Arguments:
#	store	the store
#	delete	whether message 1 is deleted
#	other	dict: number -> list of bytes that a message may have besides; a number
#		with an empty list may be missing from the list
#	action	the error that some call meets
#
# Results:
#	A dict: wrong (list of what must not be), failed (whether a command failed
#	or the connection broke), login, quit (the replies), seen (for each message that
#	came, whether its first bytes or those of `other` did).

proc ::faults::session {store delete {other {}} {action none}} {
    variable port
    variable messages
    set wrong {}
    set failed 0
    set result [dict create login {} quit {} seen {}]
    set refused {-ERR \[SYS/(TEMP|PERM)\] .*}
    set c [client::open $port]
    try {
	client::line $c
	client::ask $c "USER alice"
	set login [client::ask $c "PASS secret"]
	dict set result login $login
	if {![string match +OK* $login]} {
	    set failed 1
	    if {![regexp $refused $login]} {lappend wrong "login: $login"}
	    client::ask $c QUIT
	    return [dict merge $result [dict create wrong $wrong failed $failed]]
	}
	# The numbers of this session -> those of `messages`.
	set numbers [dict keys $messages]
	foreach {command wanted} {LIST size UIDL uid} {
	    lassign [client::talk $c $command] reply text
	    if {![string match +OK* $reply]} {
		set failed 1
		if {![regexp $refused [join [list $reply $text]]]} {lappend wrong "$command: $reply $text"}
		continue
	    }
	    if {[dict size $other]} {
		# Those after a message that had gone have lower numbers.
		if {$command eq "LIST" && [dict exists $other 2] && [dict get $other 2] eq {}
			&& [llength [split $text \n]] == [dict size $messages]} {
		    set numbers [lsearch -all -inline -not -exact $numbers 2]
		}
		continue
	    }
	    set rows [split [string trimright $text \n] \n]
	    if {[llength $rows] != [dict size $messages]} {
		lappend wrong "$command: [llength $rows] messages"
	    }
	    foreach row $rows {
		lassign $row number value
		if {$wanted eq "size"} {
		    set right [Announced $store [dict get $messages $number]]
		} else {
		    variable uids
		    if {![info exists uids($number)]} {set uids($number) $value}
		    set right $uids($number)
		}
		# One that cannot be read is listed with the size of its file.
		if {$wanted eq "size" && $action in {EIO EACCES} && $value eq
			[string length [dict get $messages $number]]} continue
		if {$value ne $right} {lappend wrong "$command: $row instead of $right"}
	    }
	}
	set place 0
	foreach number $numbers {
	    set reply [client::ask $c "RETR [incr place]"]
	    if {![string match +OK* $reply]} {
		set failed 1
		if {![regexp $refused $reply] && ![dict size $other]} {lappend wrong "RETR $number: $reply"}
		continue
	    }
	    set body [string map {\n.. \n.} \n[client::body $c]]
	    set body [string range $body 1 end]
	    set octets [lindex $reply 1]
	    set may [list [dict get $messages $number]]
	    if {[dict exists $other $number]} {lappend may {*}[dict get $other $number]}
	    set is {}
	    foreach bytes $may which [lrange {first second} 0 [llength $may]-1] {
		if {$body eq [Wire $bytes]} {
		    lappend is [Announced $store $bytes]
		    dict lappend result seen $which
		}
	    }
	    if {![llength $is]} {
		lappend wrong "RETR $number: [string length $body] wrong octets, [string range $body 0 40]"
	    } elseif {$octets ni $is} {
		lappend wrong "RETR $number: $octets announced instead of $is"
	    }
	}
	if {$delete} {client::ask $c "DELE 1"}
	set quit [client::ask $c QUIT]
	dict set result quit $quit
	if {![string match +OK* $quit]} {
	    set failed 1
	    if {![regexp $refused $quit]} {lappend wrong "QUIT: $quit"}
	}
    } trap {CLIENT EOF} {} {
	set failed 1
    } trap {SUPPORT TIMEOUT} {message} {
	lappend wrong "hangs: $message"
    } finally {
	client::close $c
    }
    return [dict merge $result [dict create wrong $wrong failed $failed]]
}

# faults::quiet --
#
#	Waits until no session is left; returns the lines of the log.

proc ::faults::quiet {} {
    variable server
    set end [expr {[clock milliseconds] + $::support::patience}]
    while {[child::evaluate $server {srv conn list}] ne {}} {
	if {[clock milliseconds] > $end} {
	    error "a session does not end"
	}
	after 1
    }
    return [child::evaluate $server {update; set said $lines; set lines {}; set said}]
}

# faults::strike --
#
#	A session of one case, and one after it.
#
# Results:
#	What must not be, as a list; empty when all is well.

proc ::faults::strike {case {delete 1}} {
    variable messages
    variable server
    set store [dict get $case store]
    if {$delete} {fill $store}
    arm $case
    set result [session $store $delete {} [dict get $case action]]
    dict set case struck [dict get [Seen] struck]
    disarm
    set lines [quiet]
    set wrong [dict get $result wrong]
    if {[dict get $result failed] && ![llength $lines]} {
	lappend wrong "it failed, and no line tells: $result"
    }
    # What is left.
    set gone [expr {![file exists [Path $store 1]]}]
    if {$delete && [string match +OK* [dict get $result quit]] && !$gone} {
	lappend wrong "message 1 is still there"
    }
    if {$gone && (!$delete || [dict get $result quit] eq {} && ![string match +OK* [dict get $result login]])} {
	lappend wrong "message 1 is gone"
    }
    dict for {number bytes} $messages {
	set path [Path $store $number]
	if {$number != 1 && (![file exists $path] || [::support::slurp $path] ne $bytes)} {
	    lappend wrong "message $number was changed"
	}
    }
    # The next session finds it free and whole.
    if {!$delete} {
	set after [session $store 0]
	lappend wrong {*}[lmap one [dict get $after wrong] {string cat "afterwards " $one}]
	if {[dict get $after failed]} {lappend wrong "afterwards: $after"}
	quiet
    } else {
	variable port
	if {[catch {
	    set c [client::login $port alice secret]
	    set stat [client::ask $c STAT]
	    client::ask $c QUIT
	    client::close $c
	} said]} {
	    lappend wrong "afterwards: $said"
	} elseif {[lindex $stat 1] != [dict size $messages] - $gone} {
	    lappend wrong "afterwards: $stat"
	}
	quiet
    }
    return [lmap one $wrong {list $case $one}]
}

# What may happen to a mailbox during a session: name -> script, and the bytes that messages
# may have then. The script has `box` and `store`.
dict for {name change} {
    gone	{{file delete [Path $store 2]} {2 {}}}
    replaced	{{
	set new [file join $dir new]
	file mtime [::support::write $new [Decoy 2]] 1700000000
	file rename -force $new [Path $store 2]
    } {2 decoy}}
    shrunk	{{
	set channel [open [Path $store 3] r+b]
	chan truncate $channel 100
	close $channel
    } {3 shrunk}}
    grown	{{
	set channel [open [Path $store 3] ab]
	puts $channel "one more line"
	close $channel
    } {3 grown}}
    moved	{{file rename $box $box.away} {}}
    swapped	{{
	file rename $box $box.away
	foreach place {cur new tmp} {
	    if {[file isdirectory [file join $box.away $place]]} {file mkdir [file join $box $place]}
	}
	file mkdir $box
	foreach number [dict keys $messages] {
	    file mtime [::support::write [Path $store $number] [Decoy $number]] 1700000000
	}
    } {1 decoy 2 decoy 3 decoy 4 decoy 5 decoy}}
} {
    dict set ::faults::changes $name $change
}
unset name change

# Other bytes in the place of a message, as many, so that its name stays right.
proc ::faults::Decoy {number} {
    variable messages
    return [string map {o 0 e 3} [dict get $messages $number]]
}

proc ::faults::Changed {number how} {
    variable messages
    set bytes [dict get $messages $number]
    switch $how {
	decoy {return [list [Decoy $number]]}
	shrunk {return [list [string range $bytes 0 99]]}
	grown {return [list "${bytes}one more line\n"]}
	default {return {}}
    }
}

# faults::change --
#
#	A session during which, at one call, its mailbox changes.
#
# Results:
#	What must not be.

proc ::faults::change {case name} {
    variable changes
    variable messages
    variable dir
    set store [dict get $case store]
    set box [file join $dir box]
    file delete -force $box
    file delete -force $box.away
    fill $store
    lassign [dict get $changes $name] script how
    set other {0 {}}
    dict for {number kind} $how {dict set other $number [Changed $number $kind]}
    set ::faults::script $script
    arm $case
    set timer [after 1 [list ::faults::Watch $store]]
    set result [session $store 1 $other]
    after cancel $timer
    after cancel [list ::faults::Watch $store]
    dict set case struck [dict get [Seen] struck]
    Resume
    disarm
    set lines [quiet]
    set wrong [dict get $result wrong]
    if {[dict get $result quit] eq {} && [string match +OK* [dict get $result login]] && ![llength $lines]} {
	lappend wrong "it broke, and no line tells: $result"
    }
    if {$name in {moved swapped}} {
	if {[llength [lsort -unique [dict get $result seen]]] > 1} {
	    # An empty message is its own decoy.
	    set seen [dict get $result seen]
	    if {"first" in [lrange $seen 0 2] && "second" in [lrange $seen 0 2]} {
		lappend wrong "messages of both: $seen"
	    }
	}
	set decoy [file exists [Path $store 1]]
	if {$name eq "swapped" && !$decoy && [lindex [dict get $result seen] 0] ne "second"} {
	    lappend wrong "a message that nobody has seen was deleted"
	}
	file delete -force $box
	if {[file isdirectory $box.away]} {file rename $box.away $box}
    }
    # Those that nobody changed are whole.
    dict for {number bytes} $messages {
	set path [Path $store $number]
	if {$number != 1 && ![dict exists $how $number] && (![file exists $path] || [::support::slurp $path] ne $bytes)} {
	    lappend wrong "message $number was changed"
	}
    }
    variable port
    if {[catch {
	set c [client::login $port alice secret]
	client::ask $c QUIT
	client::close $c
    } said]} {
	lappend wrong "afterwards: $said"
    }
    quiet
    return [lmap one $wrong {list $case $name $one}]
}

# Makes the change when the call waits.
proc ::faults::Watch {store} {
    variable script
    variable dir
    variable messages
    if {[dict get [Seen] paused]} {
	set box [file join $dir box]
	eval $script
	Resume
	return
    }
    after 1 [list ::faults::Watch $store]
}

# faults::killed --
#
#	A server that is killed at one call of QUIT, which deletes each second message.
#
# Arguments:
#	store	dbox or maildir
#	count	number of messages
#	at	the call; 0 for none
#
# Results:
#	A list: what must not be, the number of calls that were made.

proc ::faults::killed {store count at} {
    variable dir
    variable server
    variable port
    variable messages
    set kept $messages
    set messages {}
    for {set n 1} {$n <= $count} {incr n} {
	dict set messages [expr {100 + $n}] "Subject: $n\n\n[string repeat "line $n\n" [expr {$n % 50}]]"
    }
    set wrong {}
    start $store
    set c [client::login $port alice secret]
    for {set n 1} {$n <= $count} {incr n 2} {client::ask $c "DELE $n"}
    arm [dict create at $at action kill also 0 lacks 0]
    client::send $c QUIT\r\n
    client::rest $c
    client::close $c
    set calls [dict get [Seen] count]
    if {$at && [set ended [child::status $server]] ne "signal SIGKILL"} {
	lappend wrong "the server was not killed: $ended"
    }
    if {$at} {set server {}}
    disarm
    set left {}
    dict for {number bytes} $messages {
	set path [Path $store $number]
	set there [file exists $path]
	if {$there} {lappend left [::support::slurp $path]}
	if {$number % 2 == 0 && !$there || $there && [::support::slurp $path] ne $bytes} {
	    lappend wrong "message $number was changed"
	}
    }
    # Another process finds the mailbox free, and all that is left.
    if {[llength [info commands ::after_kill]]} {::after_kill destroy}
    set kind [lindex [split $store -] 0]
    ::pop3d::${kind}::new ::after_kill
    ::after_kill base $dir
    if {![::after_kill lock box]} {
	lappend wrong "it is locked"
    } else {
	if {[::after_kill stat box] != [llength $left]} {lappend wrong "stat: [::after_kill stat box]"}
	::after_kill unlock box
    }
    ::after_kill destroy
    stop
    set messages $kept
    return [list $wrong $calls]
}

# faults::saved --
#
#	A process that is killed at one call of `users save`, or to which the call fails.
#
# Results:
#	A list: what must not be, the number of calls that were made.

proc ::faults::saved {action at lacks} {
    variable dir [::support::tempdir]
    variable server
    disarm
    set path [file join $dir users]
    set server [child::start {} [list env {*}[Environment] [info nameofexecutable]]]
    child::evaluate $server "pop3d::udb::new users; users add one secret1 box1; users save [list $path]"
    child::evaluate $server {for {set n 0} {$n < 500} {incr n} {users add more$n secret$n box$n}}
    arm [dict create at $at action $action also 0 lacks $lacks]
    set failed [catch {child::evaluate $server "users save [list $path]"} said]
    set calls [dict get [Seen] count]
    disarm
    set wrong {}
    if {$action eq "kill" && $at} {
	if {[set ended [child::status $server]] ne "signal SIGKILL"} {
	    lappend wrong "not killed: $ended"
	}
	set server {}
    }
    # The old file, or the new one if the call says so.
    pop3d::udb::new ::saved
    if {[catch {::saved read $path} message]} {
	lappend wrong "the file: $message"
    } elseif {[::saved lookup one] ne {secret1 box1}} {
	lappend wrong "one: [::saved lookup one]"
    } elseif {[::saved exists more0] != [::saved exists more499]} {
	lappend wrong "half of it"
    } elseif {!$failed && ![::saved exists more0]} {
	lappend wrong "the old one, and no error"
    } elseif {[catch {::saved save $path} message]} {
	lappend wrong "saving anew: $message"
    }
    if {$server ne {} && [catch {child::evaluate $server "users save [list $path]"} message]} {
	lappend wrong "the next save: $message"
    }
    ::saved destroy
    stop
    return [list $wrong $calls]
}

# faults::delivered --
#
#	A process that delivers a message, and meets a fault at one call of that; or that
#	waits there, while another process looks at the mailbox.
#
# Arguments:
#	store	the store
#	uid	the chosen unique id, or nothing
#	case	at, action and also; at 0: none
#
# Results:
#	A list: what must not be, the number of calls that were made.

proc ::faults::delivered {store uid case} {
    variable dir
    variable server
    variable messages
    if {$server eq {}} {start $store}
    fill $store
    set left [file join $dir box {*}[expr {[string match maildir* $store] ? "tmp" : {}}] .pop3d.new.*]
    set kind [lindex [split $store -] 0]
    # A half of it is less than what is written at once.
    set message "Subject: new\n\n[string repeat "A line of the new one.\n" 8000]"
    set case [dict merge {at 0 action none also 0 lacks 0} $case]
    lassign [dict values $case] at action also
    arm $case
    child::send $server "boxes deliver box -data [list $message] [expr {$uid eq {} ? {} : "-uid [list $uid]"}]"
    set wrong {}
    if {$action eq "pause"} {
	::support::await {[dict get [::faults::Seen] paused]}
	lappend wrong {*}[lindex [Judged $kind $message] 0]
	Resume
    }
    set failed [catch {child::answer $server} said]
    set calls [dict get [Seen] count]
    set struck [dict get [Seen] struck]
    disarm
    if {$action eq "kill" && $at} {
	if {[set ended [child::status $server]] ne "signal SIGKILL"} {lappend wrong "not killed: $ended"}
	set server {}
    }
    lassign [Judged $kind $message] more uids
    lappend wrong {*}$more
    if {!$failed && $uids ne [list $said]} {lappend wrong "$said was acknowledged, there is: $uids"}
    if {!$failed && $uid ni [list {} $said]} {lappend wrong "$said instead of $uid"}
    if {$failed && [llength $uids] && $action ne "kill" && !$also} {lappend wrong "it is there, but: $said"}
    if {$failed && $action ne "kill" && ![regexp {^(couldn't .* "box"|"box" (is|does) not )} $said]} {lappend wrong "said: $said"}
    if {$action ne "kill" && !$also && [llength [glob -nocomplain $left]]} {
	lappend wrong "left: [glob $left]"
    }
    # What is left harms nobody.
    if {$server ne {}} {
	if {[catch {child::evaluate $server {boxes fetch box [boxes deliver box -data after]}} after]} {
	    lappend wrong "the next one: $after"
	}
    }
    file delete {*}[glob -nocomplain $left]
    return [list [lmap one $wrong {list $case call $struck $one}] $calls]
}

# What is wrong with the messages that another process sees, `message` may be one of them;
# and its unique ids.
proc ::faults::Judged {kind message} {
    variable dir
    variable messages
    if {![llength [info commands ::judge]]} {
	::pop3d::${kind}::new ::judge
	::judge base $dir
    }
    set wrong {}
    set uids {}
    set seen {}
    foreach row [::judge messages box] {
	set bytes [::judge fetch box [lindex $row 0]]
	if {$bytes eq $message} {
	    lappend uids [lindex $row 0]
	} else {
	    lappend seen $bytes
	}
    }
    ::judge destroy
    if {[lsort $seen] ne [lsort [dict values $messages]]} {
	lappend wrong "half of it, or another one lost: [lmap bytes $seen {string length $bytes}]"
    }
    return [list $wrong $uids]
}
