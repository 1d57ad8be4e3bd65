# storages.tcl --
#
#	Every way to store mail, behind one interface, for storage-suite.test
#	and others. Sourced by the interpreter that has the server, which may
#	be a child of the one that has the test.

namespace eval ::storages {
    variable own		;# what `call` keeps: mailbox -> list of messages
    variable held		;# mailbox -> 1 while locked
    variable style data		;# what `get` of `call` returns
    variable built {}		;# what mime made of the token returned last
    variable parts {}		;# tokens that our last token was made of

    # Each way: the kind of store, and further options of the server.
    variable ways {
	dbox		{dbox ::boxes {}}
	dbox-indirect	{dbox ::boxes {-direct 0}}
	dbox-proc	{dbox ::storages::pass {-finalize 1}}
	maildir		{maildir ::boxes {}}
	maildir-proc	{maildir ::storages::pass {-finalize 1}}
	memory		{memory ::boxes {}}
	memory-indirect	{memory ::boxes {-direct 0}}
	memory-proc	{memory ::storages::pass {-finalize 1}}
	data		{own ::storages::call {}}
	file		{own ::storages::call {}}
	token-file	{own ::storages::call {-finalize 1}}
	token-string	{own ::storages::call {-finalize 1}}
	token-header	{own ::storages::call {-finalize 1}}
	token-parts	{own ::storages::call {-finalize 1}}
    }
}

# storages::make --
#
#	Makes a store of one way with one mailbox `box`.
#
# Arguments:
#	way		one of the keys of `ways`
#	dir		an empty directory
#	messages	list of the messages' bytes
#
# Results:
#	The options for the server.

proc ::storages::make {way dir messages} {
    variable ways
    variable style
    variable own
    variable held
    lassign [dict get $ways $way] kind prefix options
    set number 0
    switch $kind {
	dbox {
	    set box [file join $dir box]
	    file mkdir $box
	    foreach bytes $messages {
		Write [file join $box [format %03d [incr number]]] $bytes
	    }
	    ::pop3d::dbox::new boxes
	    ::boxes base $dir
	}
	maildir {
	    # Some are new, some were seen already.
	    foreach sub {cur new tmp} {file mkdir [file join $dir box $sub]}
	    foreach bytes $messages {
		set name [format 17000000%02d.M%dP1.host [incr number] $number]
		if {$number % 2} {
		    set path [file join $dir box cur $name:2,S]
		} else {
		    set path [file join $dir box new $name]
		}
		Write $path $bytes
	    }
	    ::pop3d::maildir::new boxes
	    ::boxes base $dir
	}
	memory {
	    ::pop3d::memory::new boxes
	    ::boxes add box
	    foreach bytes $messages {::boxes deliver box -data $bytes}
	}
	own {
	    set style $way
	    set own [dict create box {}]
	    array unset held
	    foreach bytes $messages {
		set path [file join $dir own[incr number]]
		Write $path $bytes
		dict lappend own box [list $path $bytes]
	    }
	}
    }
    return [list -storage $prefix {*}$options]
}

# storages::left --
#
#	The bytes of the messages that are still there.

proc ::storages::left {way dir} {
    variable ways
    variable own
    switch [lindex [dict get $ways $way] 0] {
	dbox {set files [lsort [glob -nocomplain -directory [file join $dir box] *]]}
	maildir {
	    set files [lsort -command ::storages::ByTail \
		    [glob -nocomplain -directory [file join $dir box] {{cur,new}/*}]]
	}
	memory {return [lmap message [::boxes messages box] {::boxes fetch box [lindex $message 0]}]}
	own {return [lmap message [dict get $own box] {lindex $message 1}]}
    }
    return [lmap file $files {Read $file}]
}

proc ::storages::ByTail {a b} {
    return [string compare [file tail $a] [file tail $b]]
}

# storages::unmake --
#
#	Removes the store; says which locks are left, which should be none.

proc ::storages::unmake {way} {
    variable ways
    variable held
    FreeParts
    if {[lindex [dict get $ways $way] 0] ne "own"} {
	::boxes destroy
	return {}
    }
    return [array names held]
}

# A store's object called by a script.
proc ::storages::pass {args} {
    return [::boxes {*}$args]
}

# storages::call --
#
#	A storage as scripts write them.

proc ::storages::call {method mailbox args} {
    variable own
    variable held
    set mail [dict get $own $mailbox]
    switch $method {
	lock {
	    if {[info exists held($mailbox)]} {return 0}
	    return [set held($mailbox) 1]
	}
	unlock {
	    # A second unlock is an error here, so that a test sees it.
	    unset held($mailbox)
	}
	stat {return [llength $mail]}
	size {
	    if {[llength $args]} {
		return [string length [lindex $mail [lindex $args 0]-1 1]]
	    }
	    return [tcl::mathop::+ {*}[lmap message $mail {string length [lindex $message 1]}]]
	}
	get {return [Get {*}[lindex $mail [lindex $args 0]-1]]}
	dele {
	    foreach number [lsort -integer -decreasing [lindex $args 0]] {
		set mail [lreplace $mail $number-1 $number-1]
	    }
	    dict set own $mailbox $mail
	}
	default {error "unknown method \"$method\""}
    }
    return {}
}

# What `get` returns, in one of the styles.
proc ::storages::Get {path bytes} {
    variable style
    variable built
    variable parts
    switch $style {
	file {return [list file $path]}
	data {return [list data $bytes]}
	token-file {set token [::mime::initialize -file $path]}
	token-string {set token [::mime::initialize -string $bytes]}
	token-header {
	    set token [::mime::initialize -string $bytes]
	    ::mime::setheader $token X-Seen "by a script"
	}
	token-parts {
	    FreeParts
	    foreach text {one two} {
		lappend parts [::mime::initialize -canonical text/plain \
			-string "$text of [file tail $path]\n.\n"]
	    }
	    set token [::mime::initialize -canonical multipart/mixed \
		    -param {boundary =_border} -header {Subject parts} -parts $parts]
	}
    }
    if {$style in {token-header token-parts}} {
	set built [::mime::buildmessage $token]
    }
    return $token
}

# mime::finalize leaves the parts to the script that made them.
proc ::storages::FreeParts {} {
    variable parts
    foreach part $parts {::mime::finalize $part}
    set parts {}
}

# storages::sent --
#
#	The bytes that a client should get of a message, before line ends are
#	made CRLF and dots are stuffed.

proc ::storages::sent {way bytes} {
    variable built
    return [expr {$way in {token-header token-parts} ? $built : $bytes}]
}

# storages::tokens --
#
#	Number of mime tokens there are.

proc ::storages::tokens {} {
    return [llength [info vars ::mime::\[0-9\]*]]
}

# storages::listen --
#
#	A script's own command for -socket.

proc ::storages::listen {args} {
    return [socket -myaddr 127.0.0.1 {*}$args]
}

proc ::storages::Write {path bytes} {
    set channel [open $path w]
    fconfigure $channel -translation binary
    puts -nonewline $channel $bytes
    close $channel
}

proc ::storages::Read {path} {
    set channel [open $path r]
    fconfigure $channel -translation binary
    set bytes [read $channel]
    close $channel
    return $bytes
}
