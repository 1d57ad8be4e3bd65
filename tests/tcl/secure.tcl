# secure.tcl --
#
#	Certificates made by openssl, and clients that speak TLS, for the
#	tests of the option -tls.

namespace eval ::secure {
    # The directory of the certificates; made with the first of them.
    variable directory {}
}

# Whether the clients, and the certificates, can be made here.
::tcltest::testConstraint tls [expr {![catch {package require tls}]}]
::tcltest::testConstraint openssl [expr {[auto_execok openssl] ne {}}]
::tcltest::testConstraint python3 [expr {[auto_execok python3] ne {}}]

# secure::path --
#
#	The path of a file among the certificates.

proc ::secure::path {file} {
    variable directory
    if {$directory eq {}} {
	set directory [::support::tempdir]
    }
    return [file join $directory $file]
}

# secure::certificate --
#
#	Makes FILE.pem, a certificate, and FILE.key, its key (P-256).
#
# Arguments:
#	file		the files' name
#	subject		common name of its subject
#	names		alternative names, `DNS:localhost` for instance
#	authority	the certificate that signs it; empty: itself, so that
#			it can sign others
#
# Results:
#	The options -certfile and -keyfile that name it.

proc ::secure::certificate {file subject {names {}} {authority {}}} {
    set words [list openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
	    -nodes -days 2 -subj /CN=$subject -keyout [path $file.key] -out [path $file.pem]]
    if {[llength $names]} {
	lappend words -addext subjectAltName=[join $names ,]
    }
    if {$authority ne {}} {
	# `openssl req` can be told to use an authority from version 3.0 on.
	lappend words -CA [path $authority.pem] -CAkey [path $authority.key] \
		-addext basicConstraints=critical,CA:FALSE
    }
    exec {*}$words 2>@1
    return [pair $file]
}

# secure::pair --
#
#	The options that name a certificate that was made before.

proc ::secure::pair {file} {
    return [list -certfile [path $file.pem] -keyfile [path $file.key]]
}

# secure::encrypt --
#
#	Makes TLS of a client's connection, before any greeting or after STLS.
#
# Arguments:
#	socket	a client of client.tcl, or a socket
#	args	further options of tls::import
#
# Results:
#	The socket, a client of client.tcl; an error when the handshake fails.

proc ::secure::encrypt {socket args} {
    fileevent $socket readable {}
    fconfigure $socket -blocking 0 -translation binary -buffering none -buffersize 100000
    ::tls::import $socket -servername localhost -require 0 -request 0 -ssl2 0 -ssl3 0 \
	    -tls1 0 -tls1.1 0 {*}$args
    set ::secure::done 0
    ::support::await {$::secure::done || [set ::secure::done [::tls::handshake $socket]]}
    return [::client::adopt $socket]
}

# secure::open, secure::upgrade --
#
#	Connects to a server: with TLS from the first byte on, or by STLS. The
#	greeting is read.

proc ::secure::open {port args} {
    set socket [encrypt [socket 127.0.0.1 $port] {*}$args]
    ::client::line $socket
    return $socket
}

proc ::secure::upgrade {port args} {
    set socket [::client::open $port]
    ::client::line $socket
    set reply [::client::ask $socket STLS]
    if {![string match +OK* $reply]} {
	::client::close $socket
	error "STLS refused: $reply"
    }
    return [encrypt $socket {*}$args]
}

# secure::facts --
#
#	The version of TLS, and the common name of the server's certificate.

proc ::secure::facts {socket} {
    set status [::tls::status $socket]
    # The package tls has called it otherwise before version 1.8.
    set version [expr {[dict exists $status protocol] ? "protocol" : "version"}]
    regexp {CN\s*=\s*([^,/]+)} [dict get $status subject] -> name
    return [list [dict get $status $version] $name]
}

# secure::run --
#
#	Runs a program, while this process serves events.
#
# Results:
#	What it has written, trimmed; standard error included if it failed.

proc ::secure::run {args} {
    set errors [file join [::support::tempdir] errors]
    set pipe [::open |[list {*}$args 2>$errors] r]
    fconfigure $pipe -blocking 0
    set ::secure::output {}
    fileevent $pipe readable [list apply {pipe {
	append ::secure::output [read $pipe]
	incr ::support::tick
	if {[eof $pipe]} {fileevent $pipe readable {}}
    }} $pipe]
    ::support::await {[eof $pipe]} 60000
    fconfigure $pipe -blocking 1
    if {[catch {close $pipe}]} {
	append ::secure::output [::support::slurp $errors]
    }
    return [string trim $::secure::output]
}
