# dialogs.tcl --
#
#	The fixed dialogs: `name steps`, as play.tcl explains them.

namespace eval ::dialogs {
    variable dialogs {}
    variable login {{USER alice} {PASS secret}}
}

# dialogs::dialog --
#
#	Adds a dialog.

proc ::dialogs::dialog {name args} {
    variable dialogs
    dict set dialogs $name $args
}

# dialogs::in --
#
#	Adds a dialog that begins with the login of alice.

proc ::dialogs::in {name args} {
    variable login
    dialog $name {*}$login {*}$args
}

# Every command in every state, with and without arguments.
proc ::dialogs::States {} {
    set commands {
	CAPA USER {USER alice} {USER nobody} PASS {PASS secret} {PASS wrong} APOP {APOP alice}
	{APOP alice 0123456789abcdef0123456789abcdef} {APOP alice %secret%} {APOP nobody %secret%}
	STAT {STAT x} LIST {LIST 1} {LIST 4} {LIST x} UIDL {UIDL 1} {UIDL 4} RETR {RETR 1} {RETR 4}
	{RETR x} TOP {TOP 1} {TOP 1 0} {TOP 1 1} {TOP 4 1} {TOP 4} {TOP x 1} {TOP 1 x} {TOP 1 -1}
	DELE {DELE 1} {DELE 4} {DELE x} NOOP {NOOP x} RSET {RSET x} QUIT {QUIT x} XYZZY {} AUTH STLS
	HELO {AUTH PLAIN}
    }
    foreach command $commands {
	set id [string map {{ } -} $command]
	dialog fresh-$id $command STAT
	dialog named-$id {USER alice} $command STAT
	dialog failed-$id {USER alice} {PASS wrong} $command STAT
	in trans-$id $command STAT
	in marked-$id {DELE 2} $command STAT LIST QUIT
	in reset-$id {DELE 2} {DELE 1} RSET $command STAT
	dialog empty-$id {USER empty} {PASS secret} $command STAT QUIT
    }
}

# Every number that somebody may write, where a number may stand.
proc ::dialogs::Numbers {} {
    foreach word {
	1 2 12 13 0 00 -1 -0 +1 01 08 010 012 0x1 0xc 0b1 0o7 1.0 1.5 1e0 1e1 .5 x 1x x1 ٣
	99999999999999999999 4294967297 2147483648 -2147483649 18446744073709551617 Inf NaN true 1_0
    } {
	foreach verb {DELE RETR LIST UIDL} {
	    dialog number-$verb-$word {USER many} {PASS secret} "$verb $word" {LIST 8} {LIST 10} QUIT
	}
	dialog number-TOP-$word {USER many} {PASS secret} "TOP $word 1" QUIT
	# Tcllib's lrange fails on a limit beyond an int; no client has so many lines.
	if {![regexp {^[0-9]{10,}$|Inf} $word]} {
	    dialog number-lines-$word {USER many} {PASS secret} "TOP 2 $word" QUIT
	}
    }
    foreach words {{1 2} {2 1} {1 x} {1  } { 1} {  1  2}} {
	foreach verb {DELE RETR LIST UIDL TOP} {
	    in extra-$verb-[string map {{ } -} $words] "$verb $words" STAT QUIT
	}
    }
}

# Lines as such.
proc ::dialogs::Lines {} {
    foreach {id line} {
	lower stat mixed sTaT blank-before { STAT} blanks-after {STAT   } tab "STAT\t" tabs "\tSTAT\tx"
	blank { } blanks {   } open-brace "LIST \{" close-brace "LIST \}" braces {LIST {1}}
	quotes {LIST "1"} quote {LIST "1} verb-braces {{STAT}} verb-quotes {"STAT"} bracket {[exit]}
	bracket-arg {LIST [exit]} dollar {$x} dollar-arg {LIST $x} backslash {\x53TAT}
	backslash-arg {LIST \x31} backslash-end "LIST 1\\" semicolon {STAT;QUIT} after-brace "LIST {1}x"
	hash {# STAT} unicode {jörg} unicode-arg {LIST ß} long-verb
	ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ control "ST\x07AT" escape "\x1b\[2J"
	form-feed "STAT\fx" vertical "LIST\v1" five STATS three STA format {%s%n} percent {LIST %d}
    } {
	dialog line-$id $line NOOP
	in line-in-$id $line NOOP QUIT
    }
    foreach line [list "USER \{abc" "PASS \"x" "APOP \{a b" "XYZ \{" "TOP 1 \{" "NOOP \{"] {
	dialog list-[string map {{ } -} $line] $line NOOP STAT
	in list-in-[string map {{ } -} $line] $line NOOP STAT QUIT
    }
    foreach user [list { alice} {  alice} "\talice" {alice  } {alice x} {"alice"} {{alice}} ALICE jörg] {
	set id [string map [list { } - \t TAB] $user]
	dialog user-$id "USER $user" {PASS secret} STAT QUIT
    }
    dialog user-unicode {USER jörg} {PASS paß} STAT QUIT
    foreach secret [list { secret} {secret } {secret x} secrets secre SECRET {"secret"} {{secret}} {} { }] {
	dialog pass-[string map {{ } -} $secret] {USER alice} "PASS $secret" STAT QUIT
    }
    dialog pass-two-words {USER bob} {PASS two words} STAT QUIT
    dialog pass-two-blanks {USER bob} {PASS two  words} STAT QUIT
    dialog pass-lead {USER lead} {PASS  x} STAT QUIT
    dialog pass-tab {USER alice} "PASS\tsecret" STAT QUIT
    dialog lf-noop {USER alice} {PASS secret} {lf NOOP}
    dialog lf-stat {lf STAT}
    foreach length {1022 1024 1025 1026 5000 100000} {
	dialog long-$length "XY [string repeat z [expr {$length - 3}]]" NOOP {USER alice} {PASS secret} QUIT
	in long-in-$length "NOOP [string repeat z [expr {$length - 5}]]" STAT QUIT
    }
    dialog slow {slow {USER alice}} {slow {PASS secret}} {slow {RETR 1}} {slow QUIT}
}

# Logins.
proc ::dialogs::Logins {} {
    dialog apop {APOP alice %secret%} STAT QUIT
    dialog apop-upper {APOP alice %^secret%} STAT QUIT
    dialog apop-wrong {APOP alice %wrong%} STAT QUIT
    dialog apop-twice {APOP alice %wrong%} {APOP alice %secret%} STAT QUIT
    dialog apop-extra {APOP alice %secret% x} STAT QUIT
    dialog apop-blanks {APOP  alice   %secret%} STAT QUIT
    dialog apop-unicode {APOP jörg %paß%} STAT QUIT
    dialog apop-locked {APOP alice %secret%} {> b {APOP alice %secret%}} {> b STAT} QUIT
    dialog apop-after-pass {USER alice} {PASS wrong} {APOP alice %secret%} STAT QUIT
    dialog apop-lower {apop alice %secret%} STAT QUIT
    dialog pass-after-apop {APOP alice %wrong%} {PASS secret} STAT QUIT
    dialog pass-again {USER alice} {PASS wrong} {PASS secret} STAT QUIT
    dialog pass-pass {USER alice} {PASS secret} {PASS secret} QUIT
    dialog user-user {USER nobody} {USER alice} {PASS secret} STAT QUIT
    dialog user-other {USER alice} {PASS wrong} {USER many} {PASS secret} STAT QUIT
    dialog failures {*}[lrepeat 4 {USER alice} {PASS wrong}] {USER alice} {PASS secret} QUIT
    dialog failures-5 {*}[lrepeat 6 {USER alice} {PASS wrong}] STAT
    dialog failures-apop {*}[lrepeat 6 {APOP alice 0}] STAT
    dialog errors {*}[lrepeat 19 XYZZY] CAPA {*}[lrepeat 19 STAT] CAPA QUIT
    dialog errors-20 {*}[lrepeat 22 XYZZY]
    in errors-mixed {*}[lrepeat 6 XYZZY {USER alice} {TOP 1} {TOP 1 x}] NOOP
    in no-errors {*}[lrepeat 25 {RETR 9}] QUIT
    foreach user {gone sub bracket escape} {
	dialog mailbox-$user "USER $user" {PASS secret} STAT LIST {RETR 1} {LIST 1} {DELE 1} QUIT
	dialog mailbox-$user-2 "USER $user" {PASS secret} {LIST 2} {RETR 2}
	dialog mailbox-$user-top "USER $user" {PASS secret} {TOP 2 1} STAT
    }
    dialog second {USER alice} {PASS secret} {> b {USER alice}} {> b {PASS secret}} QUIT \
	{> b {USER alice}} {> b {PASS secret}} {> b STAT} {> b QUIT}
    dialog second-other {USER alice} {PASS secret} {> b {USER many}} {> b {PASS secret}} \
	{> b STAT} QUIT {> b QUIT}
    dialog second-drop {USER alice} {PASS secret} {DELE 1} {drop a} {> b NOOP} {> c {USER alice}}
    dialog three {> a {USER alice}} {> b {USER alice}} {> c {USER alice}} {> b {PASS secret}} \
	{> a {PASS secret}} {> c {PASS wrong}} {> b {DELE 1}} {> b QUIT} {> a {PASS secret}} {> a STAT}
}

# Messages, marks, the end.
proc ::dialogs::Sessions {} {
    foreach n {1 2 3 4} {
	dialog odd-$n {USER odd} {PASS secret} "LIST $n" "RETR $n" QUIT
	foreach k {0 1 2 100} {
	    dialog odd-top-$n-$k {USER odd} {PASS secret} "TOP $n $k" QUIT
	    in top-$n-$k "TOP $n $k" QUIT
	}
    }
    in all STAT LIST UIDL {RETR 1} {RETR 2} {RETR 3} {DELE 1} {DELE 2} {DELE 3} STAT LIST QUIT
    in one {DELE 1} {RETR 1} {LIST 1} {TOP 1 1} {DELE 1} {UIDL 1} STAT LIST QUIT
    in two {DELE 1} {DELE 2} {RETR 1} {LIST 1} {TOP 2 1} {UIDL 2} STAT LIST QUIT
    in twice {DELE 1} {DELE 3} {DELE 1} QUIT
    in rset {DELE 1} {DELE 2} RSET STAT LIST {RETR 1} QUIT
    in rset-again {DELE 1} RSET {DELE 2} QUIT
    in drop {DELE 1} {drop a}
    in drop-early {drop a}
    dialog drop-greeting NOOP {drop a}
    dialog drop-user {USER alice} {drop a}
    in quit-list {DELE 1} {DELE 2} {DELE 3} QUIT
    dialog many {USER many} {PASS secret} {*}[lmap n {12 1 5 7 3} {string cat "DELE $n"}] RSET \
	{DELE 11} STAT QUIT
    dialog next-session {USER alice} {PASS secret} {DELE 2} QUIT {> b {USER alice}} \
	{> b {PASS secret}} {> b STAT} {> b LIST} {> b {RETR 2}} {> b QUIT}
}

# Many commands at a time.
proc ::dialogs::Bursts {} {
    dialog burst-login {burst {USER alice} {PASS secret} STAT LIST {RETR 1} QUIT}
    dialog burst-all {burst CAPA {USER alice} {PASS secret} UIDL {TOP 1 1} {DELE 1} RSET NOOP QUIT}
    dialog burst-errors {burst X Y Z STAT {} {LIST 1} NOOP} QUIT
    dialog burst-failed {burst {USER alice} {PASS wrong} {USER alice} {PASS secret} STAT}
    in burst-retr {burst {RETR 1} {RETR 2} {RETR 3}} {burst {DELE 1} {DELE 2} QUIT}
    in burst-list "burst [lrepeat 100 LIST]" QUIT
    in burst-noop "burst [lrepeat 500 NOOP]" QUIT
    in burst-dele {burst {DELE 1} {RETR 1} {DELE 2} {RETR 1} STAT RSET STAT} QUIT
    in after-quit {burst QUIT NOOP STAT}
    in after-quit-dele {burst {DELE 1} QUIT {DELE 2} NOOP}
    in after-quit-login {burst QUIT {USER many} {PASS secret} STAT}
    in after-quit-same {burst {DELE 1} QUIT {USER alice} {PASS secret} STAT}
    dialog after-quit-fresh {burst QUIT STAT {USER alice} {PASS secret} STAT}
}

foreach group {States Numbers Lines Logins Sessions Bursts} {
    ::dialogs::$group
}
