# tls.tcl - POP3 over TLS by the package tls:
#
#	tclsh tls.tcl DIRECTORY PORT CERTIFICATE KEY
#
# To try it with a certificate of your own:
#	openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost \
#	    -keyout key.pem -out cert.pem
#	curl -k pop3s://alice:secret@127.0.0.1:PORT/1
if {$argc != 4} {
    puts stderr "usage: tclsh tls.tcl DIRECTORY PORT CERTIFICATE KEY"
    exit 2
}

# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10
package require pop3d::udb
package require pop3d::dbox
package require tls

lassign $argv directory port certificate key

pop3d::udb::new users
users add alice secret inbox
pop3d::dbox::new boxes
boxes base $directory

# Any command that opens a server socket as `socket` does can be the -socket.
pop3d::new server
server configure -auth users -storage boxes -port $port -socket [list \
    ::tls::socket -certfile $certificate -keyfile $key -request 0 -require 0]
server up
vwait forever
