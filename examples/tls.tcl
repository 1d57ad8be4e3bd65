# tls.tcl - POP3 over TLS by the package tls:
#
#	tclsh tls.tcl DIRECTORY PORT CERTIFICATE KEY
#
# To try it with a certificate of your own:
#	openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost \
#	    -keyout key.pem -out cert.pem
#	curl -k pop3s://alice:secret@127.0.0.1:PORT/1
package require pop3d
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
