# packages.tcl --
#
#	A server in a root that packages.sh made: one user with one mail. Its port, and what
#	was loaded, is written into the file `port` beside this one.

package require pop3d 1.10
package require pop3d::udb
package require pop3d::dbox

cd [file dirname [file normalize [info script]]]
file delete -force mail
file mkdir mail/inbox
set channel [open mail/inbox/1 w]
puts $channel "Subject: from a package\n\nA line."
close $channel

pop3d::udb::new users
users add demo secret inbox
pop3d::dbox::new boxes
boxes base [file normalize mail]
pop3d::new server
server configure -port 0 -auth users -storage boxes
server up

set library [lindex [lsearch -inline -index 1 [info loaded {}] Pop3d] 0]
set channel [open port.new w]
puts $channel "[server cget -port] Tcl [info patchlevel], pop3d [package present pop3d], $library"
close $channel
file rename -force port.new port
# For a minute at most, if whoever started it has gone.
after 60000 exit
vwait forever
