# generate.tcl --
#
#	Dialogs from a random grammar. The same seed makes the same dialogs,
#	under every Tcl: the generator of numbers is our own.

namespace eval ::generate {
    variable state 1
}

# generate::dialogs --
#
#	Makes so many dialogs, as a dictionary.

proc ::generate::dialogs {seed count} {
    variable state [expr {$seed % 2147483647 + 1}]
    set dialogs {}
    for {set i 1} {$i <= $count} {incr i} {
	dict set dialogs generated-$seed-$i [Dialog]
    }
    return $dialogs
}

# Below a bound; the generator of Park and Miller.
proc ::generate::Below {bound} {
    variable state
    set state [expr {$state * 16807 % 2147483647}]
    return [expr {$state / 8 % $bound}]
}

proc ::generate::One {list} {
    return [lindex $list [Below [llength $list]]]
}

# One of `{weight value ...}`.
proc ::generate::Weighted {pairs} {
    set sum 0
    foreach {weight -} $pairs {
	incr sum $weight
    }
    set at [Below $sum]
    foreach {weight value} $pairs {
	if {[incr at -$weight] < 0} {
	    return $value
	}
    }
}

proc ::generate::Dialog {} {
    set user [One {alice alice many odd empty bob jörg}]
    set steps {}
    for {set i [Below 3]} {$i > 0} {incr i -1} {
	lappend steps [Before $user]
    }
    lappend steps {*}[Login $user]
    set commands {}
    for {set i [Below 14]} {$i > 0} {incr i -1} {
	lappend commands [Decorate [Command]]
    }
    if {[Below 4] == 0} {
	lappend steps [linsert $commands 0 burst]
    } else {
	lappend steps {*}$commands
    }
    lappend steps {*}[Weighted {6 QUIT 1 {{drop a}} 1 {} 1 {{burst QUIT STAT {LIST 1}}}}]
    if {[Below 4] == 0} {
	lappend steps {> b NOOP} [list > b "USER $user"] {> b {PASS secret}} {> b STAT} {> b QUIT}
    }
    return $steps
}

proc ::generate::Secret {user} {
    return [lindex [dict get $::world::users $user] 0]
}

# %SECRET% cannot hold blanks; a wrong digest does as well.
proc ::generate::Apop {user} {
    return "APOP $user %[string map {{ } {}} [Secret $user]]%"
}

proc ::generate::Before {user} {
    return [Weighted [list 2 [Decorate [Command]] 2 "USER $user" 1 {PASS wrong} 1 CAPA \
	    1 "APOP $user 00" 1 [Apop $user]]]
}

proc ::generate::Login {user} {
    set secret [Secret $user]
    return [Weighted [list 8 [list "USER $user" "PASS $secret"] \
	    1 [list "USER $user" {PASS wrong} "PASS $secret"] \
	    1 [list [list burst "USER $user" "PASS $secret"]] \
	    2 [list [Apop $user]] \
	    1 [list "USER $user"] 1 {}]]
}

proc ::generate::Command {} {
    set n [Weighted {12 {1 2 3} 4 {4 9 10 12} 2 {0 -1 x +1 01 010 1.0 0x2 99999}}]
    set n [One $n]
    return [Weighted [list 3 STAT 3 LIST 3 "LIST $n" 3 "RETR $n" 2 "TOP $n [One {0 1 2 7}]" \
	    1 "TOP $n [One {x -1 1.5 {} 00}]" 5 "DELE $n" 1 "UIDL $n" 1 UIDL 2 NOOP 2 RSET 1 CAPA \
	    1 [One {XYZZY AUTH {} USER PASS {USER bob} {PASS secret} {APOP alice 0}}]]]
}

# Case, blanks, words too many, and what upsets a list.
proc ::generate::Decorate {line} {
    switch -- [Below 20] {
	0 {return [string tolower $line]}
	1 {return " $line"}
	2 {return "$line  "}
	3 {return [string map {{ } {  }} $line]}
	4 {return "$line extra words"}
	5 {return [string map [list { } \t] $line]}
	6 {return [Weighted [list 4 $line 1 "$line \{" 1 "\"$line\"" 1 "$line \$x \[y]" 1 "$line \\"]]}
    }
    return $line
}
