# Tcl package index file: works from a checkout and from an installed tree.
if {![package vsatisfies [package provide Tcl] 8.6-]} {return}
package ifneeded pop3d       1.10.0 [list ::apply {{dir package version} {
    source [file join $dir tcl load.tcl]
}} $dir pop3d 1.10.0]
package ifneeded pop3d::udb  1.10.0 [list ::apply {{dir package version} {
    source [file join $dir tcl load.tcl]
}} $dir pop3d::udb 1.10.0]
package ifneeded pop3d::dbox 1.10.0 [list ::apply {{dir package version} {
    source [file join $dir tcl load.tcl]
}} $dir pop3d::dbox 1.10.0]
package ifneeded pop3d::maildir 1.10.0 [list ::apply {{dir package version} {
    source [file join $dir tcl load.tcl]
}} $dir pop3d::maildir 1.10.0]
package ifneeded pop3d::memory 1.10.0 [list ::apply {{dir package version} {
    source [file join $dir tcl load.tcl]
}} $dir pop3d::memory 1.10.0]
# For machines without Tcllib, whose mime has a higher version.
package ifneeded mime        1.0    [list ::apply {{dir package version} {
    source [file join $dir tcl load.tcl]
}} $dir mime 1.0]
