# A server for the benchmark, in tclsh.
#
#   tclsh server.tcl SORT ROOT MAIL CERTIFICATE
#
# SORT  ours-maildir, ours-dbox: users and mailboxes in the built-in stores;
#       ours-procs: both as procs of this script, called through the interpreter;
#       tcllib: Tcllib's pop3d with its own stores;
#       timer: none, only the timer, to show beside other servers how late the
#       machine alone lets it be.
# ROOT  the directory of our package; only used for ours.
# MAIL  the mailboxes: maildir/USER/..., dbox/USER/...; and a file "users".
# CERTIFICATE  the directory of cert.pem and key.pem; only used for ours-maildir.
#
# Says "port N", "tls-port N" if it has TLS, and "ready" when it serves. Then it obeys lines on standard input:
#   watch   starts the 5 ms timer that shows how long the interpreter stalls
#   stall   stops it and says "stall MICROSECONDS", the longest lateness
# and ends with its input.

lassign $argv sort root mail certificate

# One tick of the timer: notes how late it comes.
proc tick {} {
    global due worst
    set now [clock microseconds]
    if {$now - $due > $worst} { set worst [expr {$now - $due}] }
    set due [expr {$now + 5000}]
    set ::timer [after 5 tick]
}

proc obey {} {
    switch -- [gets stdin] {
        watch {
            set ::worst 0
            set ::due [expr {[clock microseconds] + 5000}]
            set ::timer [after 5 tick]
        }
        stall {
            after cancel $::timer
            # A stall that has not ended by a tick yet counts too.
            set late [expr {[clock microseconds] - $::due}]
            puts "stall [expr {max($late, $::worst)}]"
        }
    }
    if {[eof stdin]} { exit }
}

# Users and mailboxes as any script might keep them: an array, and the sorted
# files of a directory.
proc auth {method user} {
    switch -- $method {
        exists { info exists ::password($user) }
        lookup { list $::password($user) $user }
    }
}

proc storage {method mailbox args} {
    switch -- $method {
        lock {
            if {[info exists ::files($mailbox)]} { return 0 }
            set ::files($mailbox) [lsort [glob -nocomplain -directory $::mail/dbox/$mailbox *]]
            return 1
        }
        unlock { unset -nocomplain ::files($mailbox) }
        stat { llength $::files($mailbox) }
        size {
            if {[llength $args]} {
                return [file size [lindex $::files($mailbox) [lindex $args 0]-1]]
            }
            set sum 0
            foreach file $::files($mailbox) { incr sum [file size $file] }
            return $sum
        }
        get { list file [lindex $::files($mailbox) [lindex $args 0]-1] }
        dele { error "not in a benchmark" }
        default { error "bad option \"$method\": must be dele, get, lock, size, stat, or unlock" }
    }
}

fconfigure stdin -blocking 0 -buffering line
fconfigure stdout -buffering line
fileevent stdin readable obey
if {$sort eq "timer"} {
    puts "port 0"
    puts ready
    vwait forever
}

if {$sort ne "tcllib"} { set auto_path [linsert $auto_path 0 $root] }
package require pop3d
set version [package present pop3d]
if {($sort eq "tcllib") != ([package vcompare $version 1.10] < 0)} {
    error "pop3d $version is not $sort"
}

set channel [open $mail/users]
set users [split [string trim [read $channel]] \n]
close $channel

set server [::pop3d::new]
if {$sort eq "ours-procs"} {
    foreach user $users { set password($user) secret }
    $server configure -port 0 -auth auth -storage storage
} else {
    package require pop3d::udb
    set udb [::pop3d::udb::new]
    foreach user $users { $udb add $user secret $user }
    if {$sort eq "ours-maildir"} {
        package require pop3d::maildir
        set store [::pop3d::maildir::new]
        $store base $mail/maildir
    } else {
        package require pop3d::dbox
        set store [::pop3d::dbox::new]
        $store base $mail/dbox
        if {$sort eq "ours-dbox"} { $store configure -octets wire }
    }
    $server configure -port 0 -auth $udb -storage $store
}
if {$sort ne "tcllib"} {
    # All clients of a benchmark come from one address.
    $server configure -connections 19000 -peraddress 19000
}
$server up

puts "version $version [info patchlevel]"
puts "port [$server cget -port]"
if {$sort eq "ours-maildir"} {
    set secure [::pop3d::new]
    $secure configure -port 0 -auth $udb -storage $store -connections 19000 -peraddress 19000 \
        -tls implicit -certfile $certificate/cert.pem -keyfile $certificate/key.pem
    $secure up
    puts "tls-port [$secure cget -port]"
}
puts ready
vwait forever
