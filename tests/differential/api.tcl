# api.tcl --
#
#	Script calls that both implementations evaluate: `{script ?rule?}`.
#	Each group begins in new processes. A call with a rule is where the
#	two differ, as api-run.tcl says.

namespace eval ::api {
    variable groups {}
}

# api::group --
#
#	Adds a group of calls, a line each. `# RULE` at the end of a line
#	names the rule by which it differs.

proc ::api::group {name calls} {
    variable groups
    set list {}
    foreach line [split [string trim $calls] \n] {
	set line [string trim $line]
	if {$line eq {}} continue
	set rule {}
	regexp {^(.*?)\s+;# ([a-z-]+)$} $line - line rule
	lappend list [list $line $rule]
    }
    dict set groups $name $list
}

# Names that somebody may give to an object or a user.
set ::api::names [list plain {with space} {br[x]} {do$lar} "quo\"te" {semi;colon} jörg a::b ::top \
	{back\slash} -dash 1 {} {a b c}]

foreach {kind package} {pop3d ::pop3d udb ::pop3d::udb dbox ::pop3d::dbox} {
    ::api::group $kind-new [string map [list @ $package] {
	@::new
	@::new
	@::new one
	@::new one
	@::new set
	@::new
	one
	one frobnicate
	one bad word
	one {}
	one DESTROY
	one destroy extra words	;# internals
	one destroy
	one destroy
	info commands ::one
	namespace exists @::[namespace tail @]::one
	@::new one two	;# internals
	@::new one
	namespace exists @::[namespace tail @]::one
	rename one other
	other frobnicate
	info commands ::one
	namespace eval ::here {namespace import @::new; new imported}
	info commands ::imported
	imported destroy
	namespace eval ::here {@::new inside}
	info commands ::inside
	info commands ::here::inside
	inside destroy
	info commands ::inside
    }]
    foreach name $::api::names {
	set quoted [list $name]
	::api::group $kind-name-$name [string map [list @PATTERN@ \
	    [expr {[regexp {[[\\]} $name] ? "\t;# pattern" : ""}] @ $package % $quoted] {
	    @::new %
	    info commands [list ::%]
	    {%}
	    {%} frobnicate
	    @::new %@PATTERN@
	    {%} destroy
	}]
    }
}

::api::group configure {
    pop3d::new s
    s cget	;# internals
    s cget -port
    s cget -state
    s cget -auth
    s cget -storage
    s cget -socket
    s cget -nope
    s cget port
    s cget -port -state	;# internals
    s configure
    s configure -port
    s configure -state
    s configure -nope
    s configure -port 1110
    s configure -port
    s configure -port 0 -auth
    s configure -port 0 -auth a -storage
    s configure -state up
    s configure -nope x
    s configure -port 25 -nope x -auth never
    s configure
    s configure -auth {a b {c d}} -storage {x [y] $z}
    s configure
    s cget -auth
    s cget -storage
    s configure -auth {} -storage {}
    s configure -port abc
    s cget -port
    s up
    s cget -state
    s configure -port {}
    s configure -port -1
    s configure -socket ::nowhere
    s up
    s cget -state
    s configure -socket ::socket -port 0
    s up
    s cget -state
    string is integer -strict [s cget -port]
    expr {[s cget -port] > 1023}
    s up
    s configure -port 4711
    expr {[s cget -port] == 4711}
    s down
    s cget -port
    s cget -state
    s down
    s configure -port 0
    s conn list
    s conn list x
    s conn state
    s conn state a b
    s conn frobnicate
    s conn	;# internals
    s conn state nobody	;# no-connection
    set ::pop3d::pop3d::s::port
    set ::pop3d::pop3d::s::state
    set ::pop3d::pop3d::s::authCmd
    set ::pop3d::pop3d::s::storCmd
    set ::pop3d::pop3d::s::sockCmd
    set ::pop3d::pop3d::s::trueport
    s destroy now
    s destroy kill later	;# internals
    s destroy {}
    s cget -state
    s destroy defer
    namespace exists ::pop3d::pop3d::s
    pop3d::new s
    s configure -port 0
    s up
    s destroy kill
    info commands ::s
    pop3d::new s
    s configure -port 0
    s up
    s destroy
    info commands ::s
}

::api::group busy {
    pop3d::new a
    pop3d::new b
    a configure -port 0
    a up
    b configure -port [a cget -port]
    b up
    b cget -state
    a down
    b up
    b cget -state
    a destroy
    b destroy
}

::api::group udb {
    pop3d::udb::new u
    u who
    u add a b	;# internals
    u add a b c d	;# internals
    u add a b c
    u add {} b c
    u add a {} c
    u add a b {}
    u add {} {} {}
    u who
    u lookup a
    u lookup b
    u lookup {}
    u lookup	;# internals
    u exists a
    u exists b
    u exists {}
    u remove b
    u remove {}
    u rename a {}
    u rename {} a
    u rename x y
    u rename a a
    u rename a b
    u add a B C
    u rename a b
    lsort [u who]
    u remove a
    u add {two words} {p [x] $y} m\{box
    u lookup {two words}
    u add jörg paß ☃
    u lookup jörg
    lsort [u who]
    u save
    u save {}
    u read	;# internals
    u read {}
    u save $dir/users
    file exists $dir/users
    file exists $dir/users.old
    u save $dir/users
    file exists $dir/users.old
    u read $dir/users
    lsort [u who]
    lsort [lmap name [u who] {u lookup $name}]
    set ::pop3d::udb::udb::u::lastfile
    u save
    u add more m m
    u save {}
    u read $dir/users
    lsort [u who]
    u read $dir/nowhere
    lsort [u who]	;# read-keeps
    u add x y z
    u save $dir/none/file	;# texts
    write $dir/bad "add a b c\nerror broken\nadd d e f\n"
    u read $dir/bad
    lsort [u who]	;# read-half
    write $dir/args "add a b\n"
    u read $dir/args	;# internals
    write $dir/empty {}
    u read $dir/empty
    u who
    write $dir/script "foreach n {1 2 3} {add u\$n p\$n m\$n}\n# comment\n"
    u read $dir/script
    lsort [u who]
    write $dir/unsafe "exec ls\n"
    u read $dir/unsafe
    u save a b	;# internals
    u who x	;# internals
    u destroy
}

::api::group dbox {
    pop3d::dbox::new d
    d list
    d add box
    d exists box
    d lock box
    d unlock box
    d stat box
    d size box
    d get box 1
    d dele box 1
    d locked box
    d move a b
    d remove a
    d base {}
    d base $dir/nowhere
    write $dir/file x
    d base $dir/file
    d base	;# internals
    d base $dir
    d list
    d add box
    d add box
    d add	;# internals
    d list
    d exists box
    d exists file
    d exists none
    d lock none
    d lock file
    d size none
    d size box
    d stat box
    d stat none
    d size box 1
    d get box 1
    d dele box 1
    d dele box {}
    d locked box
    d lock box
    d lock box
    d locked box
    d stat box
    d size box
    d size box 1
    d unlock box
    d unlock box
    d unlock none
    d locked none
    write $dir/box/1 "Subject: x\n\nhello\n"
    write $dir/box/2 "Subject: y\n\nyy\n"
    write $dir/box/3 "zzz"
    d stat box
    d size box
    d size box 1
    d lock box
    d stat box
    d size box
    d size box 1
    d size box 3
    d size box 4
    d size box 0
    d size box -1
    d size box {}
    d size box x
    d get box 4
    d get box 0
    string match ::mime::* [d get box 1]
    mime::getproperty [d get box 1] content
    mime::getheader [d get box 1] Subject
    d dele box 4
    d dele box {1 4}
    d dele box {}
    lsort [glob -tails -directory $dir/box *]
    d dele box {1 3}
    lsort [glob -tails -directory $dir/box *]
    write $dir/box/4 "later"
    d stat box
    d remove box
    d unlock box
    d lock box
    d stat box
    d size box
    d unlock box
    d move none new
    d move box box
    d add other
    d move box other
    d move box moved
    lsort [d list]
    d remove box
    d remove moved
    lsort [d list]
    d exists moved
    d add {with space}
    d lock {with space}
    d stat {with space}
    d unlock {with space}
    d remove {with space}
    d add jörg
    lsort [d list]
    d remove jörg
    d add {br[x]}
    write $dir/br\[x\]/1 "x"
    d lock {br[x]}
    d stat {br[x]}	;# bracket-path
    d unlock {br[x]}
    d exists ../outside
    d add ../outside	;# outside-add
    file exists $dir/../outside	;# outside-made
    d lock ../outside	;# outside-lock
    d remove ../outside	;# outside-remove
    write $dir/other/1 x
    file mkdir $dir/other/sub
    d lock other
    d stat other	;# subdirectory
    d unlock other
    d destroy
    namespace exists ::pop3d::dbox::dbox::d
}

# api::generated --
#
#	Random calls on a server, users and mailboxes that exist or not.

proc ::api::generated {seed count} {
    set ::generate::state [expr {$seed % 2147483647 + 1}]
    set calls [list {{pop3d::new s} {}} {{pop3d::udb::new u} {}} {{pop3d::dbox::new d} {}} \
	    {{d base $dir} {}} {{u save $dir/../saved} {}}]
    for {set i 0} {$i < $count} {incr i} {
	lappend calls [list [Generated] {}]
    }
    return $calls
}

proc ::api::Generated {} {
    set user [list [generate::One {a b {c d} jörg {} x}]]
    set box [list [generate::One {one two {t h r} none}]]
    set option [generate::One {-port -auth -storage -socket -state -nope port {}}]
    set value [list [generate::One {0 abc {} {a b} {[x]} 4711}]]
    return [generate::Weighted [list 4 "u add $user p $box" 2 "u remove $user" 3 "u lookup $user" \
	    2 "u exists $user" 2 "u rename $user [list [generate::One {a b x {}}]]" 2 {lsort [u who]} \
	    2 "u save \$dir/../saved" 1 "u read \$dir/../saved" 3 "d add $box" 2 "d remove $box" \
	    3 "d lock $box" 3 "d unlock $box" 2 "d locked $box" 2 "d stat $box" 2 "d size $box" \
	    1 "d size $box 1" 1 "d get $box 1" 1 "d dele $box 1" 2 {lsort [d list]} 2 "d exists $box" \
	    3 "s configure [list $option] $value" 3 "s cget [list $option]" 1 {s configure} \
	    1 "s configure [list $option]" 1 {s conn list} 1 {s down} 1 {s frobnicate} 1 {u x} 1 {d y}]]
}
