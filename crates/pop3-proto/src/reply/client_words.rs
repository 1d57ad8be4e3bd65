//! The words of replies, as clients read them.

use super::{Line, TOO_MANY_CONNECTIONS, TOO_MANY_FAILURES};
use crate::{Failure, LoginStep};

/// What fetchmail 6.4 makes of an -ERR before the end of a login.
fn fetchmail(reply: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| reply.contains(word));
    if has(&["lock", "Lock", "LOCK", "wait", "[IN-USE]", "[LOGIN-DELAY]"]) {
        "lock busy"
    } else if has(&["Service", "service"]) && has(&["unavailable"]) {
        "server busy"
    } else {
        "wrong password"
    }
}

#[test]
fn only_refused_credentials_look_like_a_wrong_password() {
    let written = |line: Line| {
        let mut out = Vec::new();
        line.write(&mut out);
        String::from_utf8(out).unwrap()
    };
    let step = |step| written(Line::LoginImpossible(step, Failure::Permanent));
    for (reply, want) in [
        (written(Line::LoginFailed), "wrong password"),
        (written(Line::InUse { name: b"alice" }), "lock busy"),
        (step(LoginStep::Users), "server busy"),
        (step(LoginStep::Lock), "lock busy"),
        (step(LoginStep::Mailbox), "server busy"),
        (step(LoginStep::Server), "server busy"),
        (
            String::from_utf8_lossy(TOO_MANY_CONNECTIONS).into_owned(),
            "server busy",
        ),
        (
            String::from_utf8_lossy(TOO_MANY_FAILURES).into_owned(),
            "server busy",
        ),
    ] {
        assert_eq!(fetchmail(&reply), want, "{reply}");
        let words = reply.to_lowercase();
        let says = ["auth", "password", "credential", "denied"];
        let says = says.iter().any(|word| words.contains(word));
        assert_eq!(says, want == "wrong password", "{reply}");
    }
}
