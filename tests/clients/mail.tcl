# mail.tcl --
#
#	The messages that the tests with real clients fetch, and a server for
#	them in a process of its own.

source [file join [file dirname [file dirname [file normalize [info script]]]] tcl support.tcl]
support::use

namespace eval mail {
    # Name -> stored bytes. Sorted by name, they are messages 1, 2, ...
    variable stored [dict create \
	01-crlf		"From: a@example.org\r\nSubject: plain\r\n\r\nOne line.\r\n" \
	02-lf		"From: a@example.org\nSubject: lf\n\nOne\nTwo\n" \
	03-dots		"Subject: dots\r\n\r\n.\r\n..\r\n.leading\r\n...three\r\nend.\r\n" \
	04-dot-first	".Subject: a dot first\r\n\r\ntext\r\n" \
	05-no-end	"Subject: no final newline\r\n\r\nlast line" \
	06-only-dot	"Subject: ends with a dot\r\n\r\n." \
	07-bytes	"Subject: bytes\r\n\r\n\xe4\xf6\xfc \x80\xff \xc3\xa4 \xe2\x82\xac\r\n" \
	08-blank-end	"Subject: blank lines\r\n\r\ntext\r\n\r\n\r\n" \
	09-mixed	"Subject: mixed\n\r\none\r\ntwo\nthree\r\n" \
	10-long		"Subject: long line\r\n\r\n[string repeat 0123456789abcdef 65536]\r\n" \
	11-folded	"Subject: folded\r\n over\r\n\tlines\r\nX-Odd:no blank\r\n\r\ntext\r\n" \
	12-many		"Subject: many lines\r\n\r\n[string repeat ".line\r\nline\r\n" 20000]" \
	13-multipart	"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n//79\r\n--b--\r\n" \
	14-no-header	"\r\nNo header at all.\r\n" \
	15-empty	""]
}

# mail::wire --
#
#	What a client is to get for stored bytes: line ends made CRLF, one at
#	the end.

proc mail::wire {bytes} {
    set bytes [string map [list \r\n \r\n \n \r\n] $bytes]
    if {$bytes ne {} && [string range $bytes end-1 end] ne "\r\n"} {
	append bytes \r\n
    }
    return $bytes
}

# mail::server --
#
#	Starts a child process that serves the messages to alice.
#
# Arguments:
#	wrapped	whether the storage is a proc around the dbox
#	script	evaluated there before `up`
#
# Results:
#	{child port base}

proc mail::server {{wrapped 0} {script {}}} {
    variable stored
    set child [child::start]
    child::evaluate $child [list set mail $stored]
    set port [child::evaluate $child [string map [list @WRAPPED@ $wrapped @SCRIPT@ $script] {
	set base [fixture::start [dict create alice $mail]]
	srv down
	if {@WRAPPED@} {
	    proc wrapped {method args} {
		if {$method eq "get"} {
		    lassign $args mailbox number
		    set files [lsort [glob -directory $::base/$mailbox *]]
		    return [list file [lindex $files $number-1]]
		}
		boxes $method {*}$args
	    }
	    srv configure -storage wrapped
	}
	@SCRIPT@
	srv configure -port 0
	srv up
	srv cget -port
    }]]
    return [list $child $port [child::evaluate $child {set base}]]
}
