# async-http.tcl - a gateway whose users are known to a slow web service. While one
# login waits for it, all others go on: a callback is a coroutine, and may yield.
#
#	tclsh examples/async-http.tcl ?PORT?
#
# The web service is in this file too. It knows one user, alice, and thinks about each
# question for 300 milliseconds.

# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10
package require http

# Asks the service, and yields until the answer is there.
proc ask {path} {
    http::geturl $::service/$path -command [info coroutine] -timeout 10000
    set token [yield]
    try {
	if {[http::status $token] ne "ok"} {
	    # The client is told to try again later.
	    throw {POP3D TEMP} "no answer from the service: [http::status $token]"
	}
	return [expr {[http::ncode $token] == 200 ? [string trim [http::data $token]] : {}}]
    } finally {
	http::cleanup $token
    }
}

proc users {method name} {
    switch -- $method {
	exists {return [regexp {^\w+$} $name]}
	lookup {
	    # An empty entry: there is no such user.
	    set password [ask password/$name]
	    return [expr {$password eq {} ? {} : [list $password $name]}]
	}
    }
}

# One mail for everybody, which stays.
set mail "Subject: Welcome\r\n\r\nA slow service knows you.\r\n"
proc storage {method args} {
    switch -- $method {
	lock - stat {return 1}
	size {return [string length $::mail]}
	get {return [list data $::mail]}
	uidl {return welcome}
	dele {throw {POP3D MAILBOX UNUSABLE} "the mail stays"}
	unlock {return}
	default {error "unknown method \"$method\""}
    }
}

# The service: one line of a request, 300 milliseconds, the answer. ------------------------

proc accept {channel args} {
    fconfigure $channel -blocking 0 -translation crlf
    fileevent $channel readable [list request $channel]
}
proc request {channel} {
    gets $channel line
    if {[eof $channel]} {close $channel; return}
    if {[regexp {^GET /password/(\S+)} $line - name]} {
	fileevent $channel readable {}
	after 300 [list answer $channel $name]
    }
}
proc answer {channel name} {
    set status [expr {$name eq "alice" ? "200 OK" : "404 Not Found"}]
    puts $channel "HTTP/1.0 $status\nContent-Type: text/plain\nContent-Length: 7\n\nsecret"
    close $channel
}
set listener [socket -server accept -myaddr 127.0.0.1 0]
set service http://127.0.0.1:[lindex [fconfigure $listener -sockname] 2]

pop3d::new server
server configure -auth users -storage storage -socket {socket -myaddr 127.0.0.1} \
    -port [expr {$argc ? [lindex $argv 0] : 0}]
server up

set port [server cget -port]
puts "A POP3 server at 127.0.0.1, port $port, asks $service about its users.
The user is alice, the password is secret. From another terminal:

    curl pop3://alice:secret@127.0.0.1:$port/1        fetch the mail

Ctrl-C ends it."
flush stdout

vwait forever
