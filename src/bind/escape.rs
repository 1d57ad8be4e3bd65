//! Texts of clients and scripts as log lines show them: without what breaks a line or
//! takes over a terminal.

/// Characters that are shown of a value.
const SHOWN: usize = 60;

/// The beginning of a value, without control characters and line feeds.
pub fn shortened(value: &str) -> String {
    let mut chars = value.chars();
    let mut shown = String::new();
    for c in chars.by_ref().take(SHOWN) {
        push(&mut shown, c, is_harmful(c));
    }
    if chars.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// The text without control characters, by which a client could forge lines or take
/// over a terminal. Line feeds stay: no client can send one, and stack traces have them.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut out, c, is_harmful(c) && c != '\n');
    }
    out
}

/// Whether a terminal would not simply show the character: a control character, one that
/// changes the direction of text, or an invisible one.
fn is_harmful(c: char) -> bool {
    let hidden = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || hidden
}

fn push(out: &mut String, c: char, harmful: bool) {
    match harmful {
        true => out.extend(c.escape_default()),
        false => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shortened_and_escaped() {
        let long = "é".repeat(SHOWN);
        let table = [
            ("", ""),
            ("abc", "abc"),
            ("\\\"'\u{20ac}", "\\\"'\u{20ac}"),
            ("a\u{202e}b", "a\\u{202e}b"),
            (
                "u\u{308} \u{e17}\u{e35}\u{e48}",
                "u\u{308} \u{e17}\u{e35}\u{e48}",
            ),
            ("a\nb\0\x1b\u{85}", "a\\nb\\u{0}\\u{1b}\\u{85}"),
            (&*long, &*long),
            (&*format!("{long}x"), &*format!("{long}...")),
        ];
        for (value, want) in table {
            assert_eq!(shortened(value), want, "{value:?}");
        }
    }
}
