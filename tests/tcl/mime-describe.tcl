# mime-describe.tcl --
#
#	What mime makes of a message, as text: for mime-compare.tcl and mime.test.
#	tests/mime.rs has the same in Rust.

# A string with everything but printable ASCII as \xHH or \uHHHH.
proc printable {string} {
    set printable ""
    foreach char [split $string ""] {
        scan $char %c code
        if {$char eq "\\"} {
            append printable "\\\\"
        } elseif {$code >= 32 && $code < 127} {
            append printable $char
        } elseif {$code < 256} {
            append printable [format "\\x%02x" $code]
        } else {
            append printable [format "\\u%04x" $code]
        }
    }
    return $printable
}

# The result of a command, or its error after an exclamation mark.
proc outcome {args} {
    if {[catch {uplevel 1 $args} result]} {
        return "! $result"
    }
    return [printable $result]
}

# A part and those in it, one line for each thing that a script can read.
proc describe {token path} {
    set lines {}
    lappend lines "part $path [mime::getproperty $token content]"
    lappend lines "  encoding [mime::getproperty $token encoding]"
    lappend lines "  size [mime::getproperty $token size]"
    lappend lines "  properties [mime::getproperty $token -names]"
    foreach {name value} [lsort -stride 2 [mime::getproperty $token params]] {
        lappend lines "  param [printable $name]=[printable $value]"
    }
    foreach name [mime::getheader $token -names] {
        foreach value [mime::getheader $token $name] {
            lappend lines "  field [printable $name]: [printable $value]"
        }
    }
    if {[catch {mime::getproperty $token parts} parts]} {
        lappend lines "  body [outcome mime::getbody $token]"
        lappend lines "  text [outcome mime::getbody $token -decode]"
        return $lines
    }
    set number 0
    foreach part $parts {
        lappend lines {*}[describe $part $path-[incr number]]
    }
    return $lines
}

proc content {path} {
    set channel [open $path rb]
    set content [read $channel]
    close $channel
    return $content
}
