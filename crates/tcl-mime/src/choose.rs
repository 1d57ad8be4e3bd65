//! Which Content-Transfer-Encoding a built body needs.

/// The encoding of a body whose maker named none; empty: it goes as it is.
pub(super) fn encoding(content: &str, params: &[(String, String)], body: &[u8]) -> &'static str {
    match content.split('/').next() {
        Some("audio" | "image" | "video") => return "base64",
        Some("message" | "multipart") => return "",
        _ => {}
    }
    let lines = || body.split(|&byte| byte == b'\n').map(without_cr);
    let plain = lines().all(is_plain);
    let tame = lines().all(is_tame);
    if plain && tame {
        return "";
    }
    if !content.starts_with("text/") || (!plain && !mostly_ascii(params)) {
        return "base64";
    }
    "quoted-printable"
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Printable ASCII.
fn is_plain(line: &[u8]) -> bool {
    line.iter().all(|&byte| matches!(byte, b'\t' | 32..=126))
}

/// What no mail transport touches: short, nothing at the end that gets lost,
/// nothing at the start that is taken for a mark.
fn is_tame(line: &[u8]) -> bool {
    line.len() <= 76
        && line == line.trim_ascii_end()
        && !line.starts_with(b".")
        && !line.starts_with(b"From ")
}

/// Whether the charset leaves most text readable in quoted-printable.
fn mostly_ascii(params: &[(String, String)]) -> bool {
    let Some((_, charset)) = params.iter().find(|(name, _)| name == "charset") else {
        return true;
    };
    let charset = charset.to_ascii_lowercase();
    let part = charset.strip_prefix("iso-8859-");
    charset == "us-ascii" || part.is_some_and(|part| matches!(part.as_bytes(), [b'1'..=b'8']))
}

#[cfg(test)]
mod tests {
    use super::encoding;

    #[test]
    fn choices() {
        let long = "x".repeat(77);
        let table: &[(&str, &str, &[u8], &str)] = &[
            ("text/plain", "", b"a\nb\r\n", ""),
            ("text/plain", "", b"", ""),
            ("text/plain", "utf-8", b"a\n", ""),
            ("text/plain", "utf-8", b"\xc3\xa9", "base64"),
            ("text/plain", "ISO-8859-1", b"\xe9", "quoted-printable"),
            ("text/plain", "iso-8859-15", b"\xe9", "base64"),
            ("text/plain", "", b"\0", "quoted-printable"),
            ("text/plain", "", long.as_bytes(), "quoted-printable"),
            ("text/plain", "", b"a \n", "quoted-printable"),
            ("text/plain", "", b".\n", "quoted-printable"),
            ("text/plain", "", b"From x", "quoted-printable"),
            ("application/x", "", b"a\n", ""),
            ("application/x", "", b"a\rb", "base64"),
            ("application/x", "", long.as_bytes(), "base64"),
            ("image/gif", "", b"a", "base64"),
            ("multipart/mixed", "", b"\xff", ""),
        ];
        for &(content, charset, body, want) in table {
            let params = match charset {
                "" => vec![],
                charset => vec![("charset".to_owned(), charset.to_owned())],
            };
            assert_eq!(
                encoding(content, &params, body),
                want,
                "{content} {charset} {body:?}"
            );
        }
    }
}
