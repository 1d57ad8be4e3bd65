# tls.tcl - STLS on one port, TLS from the first byte on another:
#
#	tclsh tls.tcl DIRECTORY PORT TLSPORT ?CERTIFICATE KEY?
#
# DIRECTORY holds a directory "inbox" with one file for each mail. Without CERTIFICATE and
# KEY a certificate for localhost is made in DIRECTORY by openssl. To try it:
#	curl --cacert DIRECTORY/localhost.pem --ssl-reqd pop3://alice:secret@localhost:PORT/1
#	curl --cacert DIRECTORY/localhost.pem pop3s://alice:secret@localhost:TLSPORT/1
if {$argc ni {3 5}} {
    puts stderr "usage: tclsh tls.tcl DIRECTORY PORT TLSPORT ?CERTIFICATE KEY?"
    exit 2
}

# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10
package require pop3d::udb
package require pop3d::dbox

lassign $argv directory port tlsport certificate key
if {$certificate eq {}} {
    set certificate [file join $directory localhost.pem]
    set key [file join $directory localhost.key]
    if {![file exists $certificate]} {
	# openssl makes a key's file for its owner only.
	exec openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
	    -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
	    -keyout $key -out $certificate 2>@1
    }
}

pop3d::udb::new users
users add alice secret inbox
pop3d::dbox::new boxes
boxes base $directory

# Both servers have the same users and mailboxes. No password is taken without TLS.
foreach {server tls at} [list server starttls $port secure implicit $tlsport] {
    pop3d::new $server
    $server configure -auth users -storage boxes -port $at -tls $tls -plaintext never \
	-certfile $certificate -keyfile $key
    $server up
}

# The certificate is renewed by replacing its files, which are looked at once a minute.
vwait forever
