# minimal.tcl - the smallest useful server:  tclsh minimal.tcl DIRECTORY PORT
# DIRECTORY holds a directory "inbox" with one file for each mail.
package require pop3d
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
