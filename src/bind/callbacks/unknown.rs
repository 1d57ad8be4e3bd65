//! Whether a storage knows the method `uidl`, by what its first call raises.
//!
//! Whatever does not say clearly that there is no such method is a failure of the method:
//! with digests in the place of its ids clients would fetch all mail again.

use crate::ffi::interp::Raised;

/// The kinds of `TCL LOOKUP` errors that name a method.
const KINDS: [&str; 4] = ["METHOD", "SUBCOMMAND", "INDEX", "COMMAND"];

/// Whether an error says that the command `prefix` has no method `uidl`.
pub fn is_unknown_method(raised: &Raised, prefix: &[String]) -> bool {
    let code = raised.error_code();
    let code: Vec<&str> = code.iter().map(String::as_str).collect();
    match *code {
        ["TCL", "LOOKUP", kind, .., name] => KINDS.contains(&kind) && tail(name) == "uidl",
        ["TCL", "WRONGARGS"] => is_usage_of(&raised.message(), prefix),
        ["POP3D", "METHOD", name] => name == "uidl",
        // It has not said anything.
        ["POP3D", "CALLBACK", "DELETED" | "TIMEOUT"] => false,
        // Of the system, of other programs, and of Tcl where no method is missing.
        ["POSIX" | "CHILDSTATUS" | "CHILDKILLED" | "CHILDSUSP" | "TCL" | "ARITH", ..] => false,
        _ => says_unknown(&raised.message()),
    }
}

/// A name without its namespaces.
fn tail(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// Whether `wrong # args` is said of the prefix itself, neither of something that it calls
/// nor of a `uidl` that takes other arguments.
fn is_usage_of(message: &str, prefix: &[String]) -> bool {
    let usage = message.strip_prefix("wrong # args: should be \"");
    let Some(usage) = usage.and_then(|usage| usage.strip_suffix('"')) else {
        return false;
    };
    let own = |name: &str| name.trim_start_matches(':').to_owned();
    let first = usage.split(' ').next().unwrap_or_default();
    let is_its = prefix.first().is_some_and(|name| own(name) == own(first));
    is_its && !usage.split(' ').any(|word| word == "uidl")
}

/// As scripts say it in words of their own: "unknown method uidl", "uidl is not supported".
fn says_unknown(message: &str) -> bool {
    const UNKNOWN: [&str; 8] = [
        "unknown",
        "bad",
        "invalid",
        "illegal",
        "unsupported",
        "unrecognized",
        // "unknown or ambiguous", "unable to dispatch"
        "ambiguous",
        "dispatch",
    ];
    const WHAT: [&str; 5] = ["method", "subcommand", "command", "option", "operation"];
    let message = message.to_lowercase();
    let words = message.split(|c: char| !c.is_alphanumeric() && c != '_');
    let words: Vec<&str> = words
        .filter(|word| !word.is_empty() && *word != "is")
        .collect();
    let unknown = |word: &str| UNKNOWN.contains(&word);
    let what = |word: &str| WHAT.contains(&word);
    let pair = words.windows(2).any(|two| two == ["uidl", "unsupported"]);
    pair || words.windows(3).any(|three| match *three {
        [is, a, "uidl"] if unknown(is) && what(a) => true,
        [a, "uidl", is] if unknown(is) && what(a) => true,
        ["such", a, "uidl"] => what(a),
        ["uidl", "not", "supported" | "implemented" | "defined"] => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_of_the_prefix_itself() {
        let is_usage = |usage: &str, prefix: &str| {
            let message = format!("wrong # args: should be \"{usage}\"");
            let prefix: Vec<_> = prefix.split(' ').map(str::to_owned).collect();
            is_usage_of(&message, &prefix)
        };
        for (usage, prefix, own) in [
            ("store method mailbox", "store", true),
            ("::store method mailbox", "store", true),
            ("store method mailbox", "::store", true),
            ("db::store method mailbox", "::db::store", true),
            ("store base method mailbox", "store /mail", true),
            ("store", "store", true),
            // Of what it calls.
            ("query sql", "store", false),
            ("storage method", "store", false),
            // There is a `uidl`, of other arguments.
            ("store uidl mailbox", "store", false),
            ("store base uidl mailbox", "store /mail", false),
        ] {
            assert_eq!(is_usage(usage, prefix), own, "{usage} of {prefix}");
        }
        assert!(!is_usage_of("wrong # args", &["store".to_owned()]));
    }

    #[test]
    fn what_scripts_say_of_an_unknown_method() {
        for (message, unknown) in [
            ("unknown method \"uidl\"", true),
            (
                "unknown or ambiguous subcommand \"uidl\": must be get, or size",
                true,
            ),
            ("bad option \"uidl\": must be get or size", true),
            ("no such method: uidl", true),
            ("uidl is not implemented", true),
            ("Unsupported operation UIDL", true),
            ("unknown command uidl", true),
            ("uidl unsupported", true),
            ("unable to dispatch method 'uidl'", true),
            ("method uidl is unknown", true),
            ("\"::store uidl\" is not defined", true),
            // It is not said of what.
            ("no such method", false),
            ("unknown command", false),
            ("Unsupported operation", false),
            // Another one.
            ("unknown method \"query\"", false),
            ("uidl: unknown method \"query\"", false),
            ("uidl: bad option \"-x\"", false),
            // Of a message, or for now.
            ("unknown uidl of message 5", false),
            ("uidl is not available", false),
            ("uidl is not known yet", false),
            (
                "can't read \"state(uidl)\": no such element in array",
                false,
            ),
            ("unknown host db.example", false),
            ("can't read \"x\": no such element in array", false),
            (
                "couldn't open \"box/uidlist\": no such file or directory",
                false,
            ),
            ("uidl: cannot connect to database", false),
            ("uidl: mailbox is not locked", false),
            ("uidl: unknown database", false),
            ("another method failed", false),
            ("uidl failed", false),
            ("the database is locked", false),
            ("", false),
        ] {
            assert_eq!(says_unknown(message), unknown, "{message}");
        }
    }
}
