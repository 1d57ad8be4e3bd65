# rules.tcl --
#
#	The deliberate differences that the models of the two servers know,
#	each with its number in docs/DIFFERENCES.md, and what the sides do.
#	The exact answers are in expect-ours.tcl and expect-tcllib.tcl.

namespace eval ::rules {
    variable rules {}		;# name -> {number text}
    variable fixed		;# name -> how often it explained something
    variable generated
    array set fixed {}
    array set generated {}
    variable counting fixed
}

# rules::rule --
#
#	Declares a difference: `ours / Tcllib's`.

proc ::rules::rule {name number text} {
    variable rules
    dict set rules $name [list $number $text]
    variable fixed
    variable generated
    set fixed($name) 0
    set generated($name) 0
}

namespace eval ::rules {
    rule whole 1 {RETR: the stored bytes / rebuilt by mime, CR CR LF}
    rule list 2 {a line that is no Tcl list: a reply / none, and deaf for ever}
    rule quoted 2 {braces, quotes, backslashes: characters / Tcl's quoting}
    rule blanks 2 {USER after several blanks: the name / an empty name}
    rule number 2 {numbers: decimal digits / what expr takes, or it closes}
    rule lf 2 {LF ends a line / belongs to it}
    rule echo 2 {an unknown verb: 40 printable characters / as it came}
    rule closes 2 {an error of the storage: -ERR [SYS/...] / closes}
    rule after-quit 3 {input after QUIT: discarded / executed, a lock is lost}
    rule totals 4 {STAT and LIST: without marked messages / with them}
    rule marked 4 {a marked message: none / there, unless it is the only one}
    rule zero 5 {no number, 0 and below: no such message / closes}
    rule top 5 {TOP: header and so many lines / everything, and an empty line}
    rule pass-rest 5 {PASS: the rest of the line / its first word}
    rule pass-user 5 {PASS without USER: refused / with the name before}
    rule uidl 5 {UIDL / unknown}
    rule capa 5 {CAPA: TOP, UIDL, RESP-CODES too / not}
    rule auth-code 5 {refused credentials: with [AUTH] / without}
    rule in-use 5 {a locked mailbox: with [IN-USE] / without}
    rule errors 7 {20 bad commands in a row: closes / goes on}
    rule logins 7 {5 failed logins: closes / goes on}
    rule long 7 {a line over 1024 bytes: too long / taken}
    rule apop-case 10 {a digest in upper case: right / wrong}
    rule apop-bytes 10 {a secret beyond ASCII is digested: as UTF-8 / as Latin-1}
    rule base 11 {a mailbox outside of the base directory: refused / opened}
    rule brackets 11 {brackets in the path of a mailbox: its messages / none}
    rule directories 11 {sub-directories: no messages / messages that break}
}

# rules::explains --
#
#	Counts that rules explained a difference.

proc ::rules::explains {names} {
    variable counting
    foreach name [lsort -unique $names] {
	incr ::rules::${counting}($name)
    }
}

# rules::report --
#
#	A table for people.

proc ::rules::report {} {
    variable rules
    variable fixed
    variable generated
    puts [format "%3s %-12s %6s %10s  %s" no. rule fixed generated {ours / Tcllib's}]
    dict for {name rule} $rules {
	lassign $rule number text
	puts [format "%3d %-12s %6d %10d  %s" \
		$number $name $fixed($name) $generated($name) $text]
    }
}

# rules::unused --
#
#	The rules that no fixed dialog needed.

proc ::rules::unused {} {
    variable rules
    variable fixed
    return [lmap name [dict keys $rules] {
	if {$fixed($name)} continue
	set name
    }]
}
