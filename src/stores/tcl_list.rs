//! Tcl list elements as text, so that data read back as a script is never a script
//! by accident.

use std::fmt::Write;

/// Appends `element` so that Tcl, reading it as one word of a command or as one
/// element of a list, gets exactly `element` back.
///
/// What is written is plain ASCII: `source` reads with the system's encoding in Tcl 8.6
/// and with UTF-8 in Tcl 9, and an escape is the same in both. Characters above U+FFFF are
/// two escapes, a surrogate pair, as `\U` gives U+FFFD in Tcl 8.6; where Tcl does not join
/// the pair, our `read` does. Control characters are escapes, as `source` makes CR a line
/// end and stops at ^Z.
pub fn push_element(out: &mut String, element: &str) {
    if element.is_empty() {
        out.push_str("{}");
    } else if element.bytes().all(is_plain) {
        out.push_str(element);
    } else if fits_braces(element) {
        out.push('{');
        out.push_str(element);
        out.push('}');
    } else {
        element.chars().for_each(|c| push_escaped(out, c));
    }
}

/// Means nothing to Tcl, anywhere in a word.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-+.,:/@%=^&*!?<>|~'`".contains(&byte)
}

/// Whether braces around `element` quote it: printable ASCII whose own braces
/// balance. A backslash would count in front of a brace or a line end.
fn fits_braces(element: &str) -> bool {
    let mut depth = 0i64;
    for byte in element.bytes() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b'\\' => return false,
            b' '..=b'~' => {}
            _ => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        ' '..='~' => {
            if !is_plain(c as u8) {
                out.push('\\');
            }
            out.push(c);
        }
        // Always four digits, so that a digit that follows is not taken for one more.
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::push_element;

    fn quoted(element: &str) -> String {
        let mut out = String::new();
        push_element(&mut out, element);
        out
    }

    #[test]
    fn elements() {
        let table: &[(&str, &str)] = &[
            ("", "{}"),
            ("fred", "fred"),
            ("a b", "{a b}"),
            ("#x", "{#x}"),
            ("$x [exit];", "{$x [exit];}"),
            ("a\"b", "{a\"b}"),
            ("{*}x", "{{*}x}"),
            ("a{b}c", "{a{b}c}"),
            ("a{b", "a\\{b"),
            ("}{", "\\}\\{"),
            ("a\\", "a\\\\"),
            ("\\{ x", "\\\\\\{\\ x"),
            ("a\nb", "a\\nb"),
            ("a b\r\u{1a}\0", "a\\ b\\r\\u001a\\u0000"),
            ("\u{e9}1", "\\u00e91"),
            ("\u{20ac} \u{1f600}", "\\u20ac\\ \\ud83d\\ude00"),
        ];
        for (element, want) in table {
            assert_eq!(quoted(element), *want, "{element:?}");
        }
    }

    /// Reads one word as Tcl does, written from Tcl's manual (Tcl(n), rules 4, 6
    /// and 9); `None` where the text is more or less than one word, or would be
    /// substituted.
    fn read_word(text: &str) -> Option<String> {
        if let Some(inner) = text.strip_prefix('{') {
            let inner = inner.strip_suffix('}')?;
            let mut depth = 0i32;
            for c in inner.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    '\\' => return None,
                    _ => {}
                }
                if depth < 0 {
                    return None;
                }
            }
            return (depth == 0).then(|| inner.to_owned());
        }
        let mut word = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next()? {
                    'n' => word.push('\n'),
                    'r' => word.push('\r'),
                    't' => word.push('\t'),
                    'u' => {
                        let mut unit = || {
                            let digits: String = chars.by_ref().take(4).collect();
                            assert_eq!(digits.len(), 4);
                            u16::from_str_radix(&digits, 16).ok()
                        };
                        let mut units = vec![unit()?];
                        if (0xd800..0xdc00).contains(&units[0]) {
                            assert_eq!((chars.next(), chars.next()), (Some('\\'), Some('u')));
                            let digits: String = chars.by_ref().take(4).collect();
                            units.push(u16::from_str_radix(&digits, 16).ok()?);
                        }
                        word.push_str(&String::from_utf16(&units).ok()?);
                    }
                    'a' | 'b' | 'f' | 'v' | 'x' | 'U' | '0'..='9' | '\n' => return None,
                    other => word.push(other),
                },
                '$' | '[' | ';' | '"' | '{' | '}' | '#' => return None,
                c if c.is_whitespace() || c.is_control() => return None,
                c => word.push(c),
            }
        }
        (!text.is_empty()).then_some(word)
    }

    proptest! {
        #[test]
        fn reading_is_the_inverse(element in any::<String>()) {
            prop_assert_eq!(read_word(&quoted(&element)), Some(element));
        }

        #[test]
        fn reading_is_the_inverse_of_hard_ones(element in r#"[{}\\\[\]$"; #a\n\r\t\x00u0-9]{0,12}"#) {
            prop_assert_eq!(read_word(&quoted(&element)), Some(element));
        }
    }
}
