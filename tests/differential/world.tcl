# world.tcl --
#
#	The users and mail that both servers have, and what a message is on
#	the wire: from each server, as its difference number 1 says.

namespace eval ::world {
    # user -> {password mailbox}
    variable users {
	alice	{secret alice-box}
	many	{secret many-box}
	empty	{secret empty-box}
	odd	{secret odd-box}
	bob	{{two words} bob-box}
	lead	{{ x} bob-box}
	jörg	{paß bob-box}
	gone	{secret gone-box}
	sub	{secret sub-box}
	bracket	{secret br[xyz]}
	escape	{secret ../outside}
    }

    # mailbox -> dict of file name -> bytes. gone-box is not there.
    variable mail {}
    dict set mail alice-box [dict create \
	1 "From: a@example.org\r\nSubject: one\r\n\r\nHello.\r\n" \
	2 "Subject: two\n\n.dot\n..two\n.\nend\n" \
	3 "Subject: three\r\nTo: b@example.org\r\n\r\nline 1\r\nline 2\r\n\r\nline 4"]
    dict set mail many-box {}
    for {set i 1} {$i <= 12} {incr i} {
	dict set mail many-box [format %02d $i] \
		"Subject: number $i\n\n[string repeat "text $i\n" $i]"
    }
    dict set mail empty-box {}
    dict set mail odd-box [dict create \
	a-utf8 [encoding convertto utf-8 "Subject: ß\n\nGrüße\n"] \
	b-header "Subject: header only\n" \
	c-headers "Subject: header only\nTo: x\n\n" \
	d-blank "Subject: blank lines\n\n\n\n.\n\n"]
    dict set mail bob-box [dict create only "Subject: b\n\nb\n"]
    dict set mail sub-box [dict create m1 "Subject: s\n\ns\n" .hidden "Subject: h\n\nh\n"]
    dict set mail {br[xyz]} [dict create m1 "Subject: s\n\ns\n"]
    dict set mail ../outside [dict create m1 "Subject: o\n\no\n"]

    variable built		;# cache: {mailbox file} -> what mime makes of it
    array set built {}
}

# world::needed --
#
#	The mailboxes of the users that a dialog names, if they exist.

proc ::world::needed {steps} {
    variable users
    variable mail
    set boxes {}
    dict for {user account} $users {
	set box [lindex $account 1]
	if {[string match -nocase *$user* $steps] && [dict exists $mail $box]} {
	    lappend boxes $box
	}
    }
    return [lsort -unique $boxes]
}

# world::make --
#
#	Writes mailboxes below a directory.
#
# Results:
#	The base directory to give to a dbox.

proc ::world::make {dir boxes} {
    variable mail
    set base [file join $dir base]
    file mkdir $base
    foreach box $boxes {
	set path [file join $base $box]
	file mkdir $path
	dict for {file bytes} [dict get $mail $box] {
	    ::support::write [file join $path $file] $bytes
	}
    }
    # A directory is a message to Tcllib, of whatever size the system says.
    if {"sub-box" in $boxes} {
	file mkdir [file join $base sub-box m2-directory]
	set ::expect::directory [file size [file join $base sub-box m2-directory]]
    }
    return $base
}

# world::files --
#
#	What is left of a mailbox: names of the messages that are there with
#	their contents unchanged, and `NAME!` for those that are changed.

proc ::world::files {base box} {
    variable mail
    set found {}
    # tails, as brackets in a path are none of glob's.
    foreach file [lsort [glob -nocomplain -tails -type f \
	    -directory [file join $base $box] *]] {
	set same [expr {[dict exists $mail $box $file]
		&& [::support::slurp [file join $base $box $file]] eq [dict get $mail $box $file]}]
	lappend found $file[expr {$same ? "" : "!"}]
    }
    return $found
}

# world::wire --
#
#	What our server sends for stored bytes: line ends CRLF, one at the
#	end, dots stuffed. With a number of lines what TOP sends.

proc ::world::wire {bytes {lines {}}} {
    set text [string map {\r\n \n} $bytes]
    if {[string index $text end] eq "\n"} {
	set text [string range $text 0 end-1]
    }
    if {$bytes eq {}} {
	return {}
    }
    set all [split $text \n]
    if {$lines ne {}} {
	set blank [lsearch -exact $all {}]
	if {$blank >= 0} {
	    set all [lrange $all 0 [expr {$blank + $lines}]]
	}
    }
    return [join [lmap line $all {
	expr {[string index $line 0] eq "." ? ".$line\r\n" : "$line\r\n"}
    }] {}]
}

# world::rebuilt --
#
#	What Tcllib's server sends: all that its mime makes of the file, CR CR
#	LF for CR LF. RETR has its last line ends cut down to one; TOP, for
#	any number of lines but 0, sends everything and a line end of its own.

proc ::world::rebuilt {box file top} {
    variable mail
    variable built
    if {![info exists built($box,$file)]} {
	package require mime
	set path [file join [::support::tempdir] mail]
	::support::write $path [dict get $mail $box $file]
	set token [::mime::initialize -file $path]
	set built($box,$file) [::mime::buildmessage $token]
	::mime::finalize $token
    }
    set text [string map [list "\n." "\n.."] $built($box,$file)]
    set text [expr {$top ? "$text\n" : "[string trimright $text \n]\n"}]
    return [encoding convertto utf-8 [string map {\n \r\n} $text]]
}
