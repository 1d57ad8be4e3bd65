# soak.tcl --
#
#	The server that soak.py tests. Commands come on standard input, one a
#	line; each is answered by a line `OK RESULT` or `ERR MESSAGE`.
#
#	soak.tcl DIRECTORY CERTIFICATE
#
#	CERTIFICATE has the key too.

set here [file dirname [file normalize [info script]]]
set top [file dirname [file dirname $here]]
lappend auto_path [expr {[info exists env(POP3D_DIR)] ? $env(POP3D_DIR) : $top}]
package require pop3d
package require pop3d::udb
package require pop3d::dbox
package require pop3d::maildir
lassign $argv directory certificate

# What the log tells: event -> how often, and octets and messages of the sessions that ended
# by QUIT.
array set events {end 0 errors 0 octets 0 messages 0 deleted 0 logins 0 logouts 0}
array set locks {locked 0 unlocked 0}
# The connections that are logged in.
array set inside {}

proc note {level text fields} {
    if {$level eq "error"} {
	incr ::events(errors)
	set ::events(error) $text
    }
    if {[dict exists $fields ok] && [dict get $fields ok]} {
	incr ::events(logins)
	set ::inside([dict get $fields connection]) {}
    }
    # The last line of a session.
    if {[dict exists $fields deleted]} {
	incr ::events(end)
	set connection [dict get $fields connection]
	if {[info exists ::inside($connection)]} {
	    incr ::events(logouts)
	    unset ::inside($connection)
	}
	if {[dict get $fields reason] eq "quit"} {
	    foreach key {octets messages deleted} {incr ::events($key) [dict get $fields $key]}
	}
    }
}

# A storage that counts its locks, before the mailboxes of a store.
proc counting {method args} {
    set result [::scripted $method {*}$args]
    if {$method eq "lock" && $result} {incr ::locks(locked)}
    if {$method eq "unlock"} {incr ::locks(unlocked)}
    return $result
}

pop3d::udb::new users
foreach number {1 2 3 4 5 6 7 8} {users add dbox$number secret box$number}
foreach number {1 2 3 4} {users add maildir$number secret maildir$number}
pop3d::udb::new hashed
foreach number {1 2 3 4} {
    hashed addhash hashed$number [hashed hash secret scram-sha-256] box[expr {$number + 4}]
}
pop3d::dbox::new boxes
pop3d::dbox::new scripted
pop3d::maildir::new maildirs
foreach store {boxes scripted maildirs} {$store base $directory}
# What they announce is what they send; that of boxes changes meanwhile.
scripted configure -octets wire

set tls [list -certfile $certificate -keyfile $certificate]
foreach {name options} [list \
    plain	{-auth users -storage boxes} \
    starttls	[list -auth hashed -storage boxes -tls starttls {*}$tls] \
    implicit	[list -auth users -storage maildirs -tls implicit {*}$tls] \
    script	{-auth users -storage counting -finalize 1} \
    channel	{-auth users -storage maildirs -socket {interp eval {} ::socket -myaddr 127.0.0.1}} \
] {
    pop3d::new $name
    $name configure -port 0 -logindelay 10 -log note {*}$options
    $name up
    # `down` and `up` keep it.
    $name configure -port [$name cget -port]
    lappend ports $name [$name cget -port]
}
interp bgerror {} {apply {{message options} {incr ::events(errors); set ::events(error) $message}}}

# The interpreter has other work too.
proc work {} {
    for {set n 0} {$n < 20000} {incr n} {}
    after 50 work
}
work

proc connections {} {
    set all 0
    foreach {name -} $::ports {incr all [llength [$name conn list]]}
    return $all
}

fconfigure stdout -buffering line
fileevent stdin readable {
    if {[gets stdin line] < 0} {
	if {[eof stdin]} exit
    } elseif {[catch {uplevel #0 $line} result]} {
	puts "ERR [string map {\n { }} $result]"
    } else {
	puts "OK $result"
    }
}
puts "OK $ports"
vwait forever
