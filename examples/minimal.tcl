# minimal.tcl - the smallest useful server:  tclsh minimal.tcl DIRECTORY PORT
# DIRECTORY holds a directory "inbox" with one file for each mail.
if {$argc != 2} {puts stderr "usage: tclsh minimal.tcl DIRECTORY PORT"; exit 2}
# From a checkout, its package is taken before any other.
set auto_path [linsert $auto_path 0 [file dirname [file dirname [file normalize [info script]]]]]
package require pop3d 1.10
package require pop3d::udb
package require pop3d::dbox
pop3d::udb::new users
users add alice secret inbox
pop3d::dbox::new boxes
boxes base [lindex $argv 0]
pop3d::new server
server configure -auth users -storage boxes -port [lindex $argv 1]
server up
vwait forever
