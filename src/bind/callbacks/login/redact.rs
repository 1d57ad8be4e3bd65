//! Errors of `-login` without the secret that it was told.

use crate::ffi::interp::Raised;
use crate::ffi::Value;

/// What stands for a secret.
const DOTS: &str = "...";

/// The error without its stack trace, and with dots for the secret in message and code.
pub(super) fn without(raised: &Raised, secret: &str) -> Raised {
    let quoted = Value::texts([secret]).to_text();
    let redacted = |text: &str| redacted(text, secret, &quoted);
    let message = redacted(&raised.message());
    let code: Vec<String> = raised.error_code().iter().map(|c| redacted(c)).collect();
    let code: Vec<&str> = code.iter().map(String::as_str).collect();
    Raised::new(&message, &code)
}

/// The text with dots for the secret, and for the secret as an element of a list (`quoted`);
/// dots alone where it is in there still, quoted otherwise.
fn redacted(text: &str, secret: &str, quoted: &str) -> String {
    if secret.is_empty() {
        return text.to_owned();
    }
    let text = text.replace(quoted, DOTS).replace(secret, DOTS);
    let (bare_text, bare_secret) = (without_quotes(&text), without_quotes(secret));
    match !bare_secret.is_empty() && bare_text.contains(&bare_secret) {
        true => DOTS.to_owned(),
        false => text,
    }
}

/// The text without the characters by which Tcl quotes.
fn without_quotes(text: &str) -> String {
    text.chars().filter(|c| !"\\{}\"".contains(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_however_it_is_quoted() {
        let rows = [
            ("bad password a{b", "a{b", "a\\{b", "bad password ..."),
            ("called {x a\\{b}", "a{b", "a\\{b", "called {x ...}"),
            ("called {x a\\\\\\{b}", "a{b", "a\\{b", "..."),
            ("a b {a b}", "a b", "{a b}", "... ..."),
            ("nothing of it", "secret", "secret", "nothing of it"),
            ("{", "{", "\\{", "..."),
            ("no secret was sent", "", "{}", "no secret was sent"),
        ];
        for (text, secret, quoted, want) in rows {
            assert_eq!(redacted(text, secret, quoted), want, "{text}");
        }
    }
}
