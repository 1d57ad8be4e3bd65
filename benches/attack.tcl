# How long a login takes beside 10,000 silent and slow connections, and beside these and 5,000
# failed logins a second: at a server with default options, in this process.
#
#   taskset -c 0 tclsh attack.tcl ROOT CLIENT ?OPTION VALUE ...?
#
# ROOT    the directory of the package.
# CLIENT  the program `attack` of benches/load, as a list of words.
# OPTION  more for the server.

set options [lassign $argv root client]
set auto_path [linsert $auto_path 0 $root]
package require pop3d
package require pop3d::udb
package require pop3d::dbox
set channel [file tempfile path]
close $channel
file delete $path
file mkdir $path/u1
set channel [open $path/u1/1 w]
puts $channel "Subject: one\n\none"
close $channel

pop3d::udb::new users
users add u1 secret u1
pop3d::dbox::new boxes
boxes base $path
pop3d::new server
server configure -port 0 -auth users -storage boxes {*}$options
server up
set pipe [open |[list {*}$client --port [server cget -port] 2>@1]]
fileevent $pipe readable {if {[gets $pipe line] >= 0} {puts $line} elseif {[eof $pipe]} {set over 1}}
vwait over
server destroy
file delete -force $path
close $pipe
