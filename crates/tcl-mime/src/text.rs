//! Between the bytes of a message and the characters that scripts see.
//!
//! A Tcl script that reads a message in binary sees each byte as the character
//! of that number; header values are shown to it in the same way.

/// One character for each byte.
pub fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => text.to_owned(),
        _ => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// The bytes of a script's string: one per character while all are below 256,
/// else UTF-8 (what no byte can carry goes out as UTF-8).
pub fn bytes_of(text: &str) -> Vec<u8> {
    let narrow: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    narrow.unwrap_or_else(|_| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_and_wide_text_is_utf8() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes_of(&text_of(&all)), all);
        assert_eq!(bytes_of("caf\u{e9}"), b"caf\xe9");
        assert_eq!(bytes_of("\u{20ac} \u{e9}"), "\u{20ac} \u{e9}".as_bytes());
    }
}
