//! Content-Transfer-Encoding: base64 and quoted-printable (RFC 2045 §6.7, §6.8).

use std::borrow::Cow;

use mail_parser::decoders::{
    base64::base64_decode, quoted_printable::quoted_printable_decode,
    quoted_printable::quoted_printable_decode_char,
};

/// RFC 2045 §6.8: an encoded line has at most 76 characters.
const BASE64_LINE: usize = 76;

/// Where Tcllib breaks a quoted-printable line: behind this many characters.
const QUOTED_LINE: usize = 73;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Decodes a body; what is not encoded, or unknown, comes back as it is.
/// Damage costs only the damaged characters.
pub(super) fn decode<'a>(encoding: &str, body: &'a [u8]) -> Cow<'a, [u8]> {
    match encoding {
        "base64" => Cow::Owned(base64_decode(body).unwrap_or_else(|| patient_base64(body))),
        "quoted-printable" => Cow::Owned(decode_quoted(body)),
        _ => Cow::Borrowed(body),
    }
}

/// RFC 2045 §6.8: characters outside the alphabet are to be ignored.
fn patient_base64(body: &[u8]) -> Vec<u8> {
    let known = |byte: &u8| ALPHABET.contains(byte) || *byte == b'=';
    let clean: Vec<u8> = body.iter().copied().filter(known).collect();
    base64_decode(&clean).unwrap_or_default()
}

fn decode_quoted(body: &[u8]) -> Vec<u8> {
    // mail-parser drops a CR that no LF follows.
    let odd = body
        .windows(2)
        .any(|pair| pair[0] == b'\r' && pair[1] != b'\n');
    let strict = if odd {
        None
    } else {
        quoted_printable_decode(body)
    };
    strict.unwrap_or_else(|| patient_quoted(body))
}

/// RFC 2045 §6.7, note: an `=` that begins no code stands for itself.
fn patient_quoted(body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        let text = line.trim_ascii_end();
        let end = match line {
            [.., b'\r', b'\n'] => &b"\r\n"[..],
            [.., b'\n'] => b"\n",
            _ => b"",
        };
        let (text, end) = match text.strip_suffix(b"=") {
            Some(text) => (text, &b""[..]),
            None => (text, end),
        };
        decode_line(text, &mut decoded);
        decoded.extend_from_slice(end);
    }
    decoded
}

fn decode_line(mut text: &[u8], decoded: &mut Vec<u8>) {
    while let Some((&byte, rest)) = text.split_first() {
        let code = match (byte, rest) {
            (b'=', &[high, low, ..]) => quoted_printable_decode_char(high, low),
            _ => None,
        };
        decoded.push(code.unwrap_or(byte));
        text = if code.is_some() { &rest[2..] } else { rest };
    }
}

/// Encodes in lines of 76 characters, without a line end behind the last.
pub(super) fn encode_base64(body: &[u8], eol: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(body.len().div_ceil(57) * (BASE64_LINE + eol.len()));
    for (number, line) in body.chunks(BASE64_LINE / 4 * 3).enumerate() {
        if number > 0 {
            encoded.extend_from_slice(eol);
        }
        for group in line.chunks(3) {
            let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for digit in 0..4 {
                let index = (bits >> (18 - 6 * digit)) & 63;
                let known = digit <= group.len();
                encoded.push(if known {
                    ALPHABET[index as usize]
                } else {
                    b'='
                });
            }
        }
    }
    encoded
}

/// Encodes text: its lines (LF or CRLF) stay lines and end in `eol`.
pub(super) fn encode_quoted(body: &[u8], eol: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(body.len() + body.len() / 8);
    for (number, line) in body.split(|&byte| byte == b'\n').enumerate() {
        if number > 0 {
            encoded.extend_from_slice(eol);
        }
        encode_line(line.strip_suffix(b"\r").unwrap_or(line), eol, &mut encoded);
    }
    encoded
}

fn encode_line(line: &[u8], eol: &[u8], encoded: &mut Vec<u8>) {
    let mut width = 0;
    let mut remaining = quoted_width(line);
    for at in 0..line.len() {
        let quoted = must_quote(line, at);
        let size = if quoted { 3 } else { 1 };
        // The last piece of a line may have 72, others 73 and the `=`.
        if width > 0 && width + remaining > QUOTED_LINE - 1 && width + size > QUOTED_LINE {
            encoded.push(b'=');
            encoded.extend_from_slice(eol);
            width = 0;
        }
        match quoted {
            true => encoded.extend_from_slice(format!("={:02X}", line[at]).as_bytes()),
            false => encoded.push(line[at]),
        }
        width += size;
        remaining -= size;
    }
}

fn quoted_width(line: &[u8]) -> usize {
    let size = |at| if must_quote(line, at) { 3 } else { 1 };
    (0..line.len()).map(size).sum()
}

/// What must be quoted, what EBCDIC gateways change (RFC 2045 §6.7), and what
/// mail transport takes for its own at the start or end of a line.
fn must_quote(line: &[u8], at: usize) -> bool {
    match line[at] {
        b' ' | b'\t' => at + 1 == line.len(),
        b'.' => line.len() == 1,
        b'F' => at == 0 && line.starts_with(b"From "),
        byte => !byte.is_ascii_graphic() || b"!\"#$=@[\\]^`{|}~".contains(&byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        let table: &[(&str, &[u8], &[u8])] = &[
            ("base64", b"aGVs\r\nbG8=\r\n", b"hello"),
            ("base64", b"aG*Vs bG8", b"hello"),
            ("base64", b"\xff\xfe", b""),
            ("base64", b"aGVsbG8=\naGk=", b"hellohi"),
            (
                "quoted-printable",
                b"caf=E9 =\r\nau lait  \r\nx",
                b"caf\xe9 au lait\r\nx",
            ),
            ("quoted-printable", b"a=3D=\nb=e9", b"a=b\xe9"),
            ("quoted-printable", b"1=1 \n=ZZ =\n=", b"1=1\n=ZZ "),
            ("quoted-printable", b"a\rb=20", b"a\rb "),
            ("8bit", b"=41\xe9", b"=41\xe9"),
            ("x-unknown", b"=41", b"=41"),
        ];
        for (encoding, body, want) in table {
            assert_eq!(&*decode(encoding, body), *want, "{encoding} {body:?}");
        }
    }

    #[test]
    fn encoding() {
        assert_eq!(encode_base64(b"", b"\n"), b"");
        assert_eq!(encode_base64(b"a", b"\n"), b"YQ==");
        assert_eq!(encode_base64(b"ab", b"\n"), b"YWI=");
        let long = encode_base64(&[0; 58], b"\r\n");
        assert_eq!(long, format!("{}\r\nAA==", "A".repeat(76)).as_bytes());
        let table: &[(&[u8], &[u8])] = &[
            (b"caf\xe9 \nx\t\n", b"caf=E9=20\r\nx=09\r\n"),
            (
                b".\n.dot\nFrom x\nFromage\r\n",
                b"=2E\r\n.dot\r\n=46rom x\r\nFromage\r\n",
            ),
            (b"a=b", b"a=3Db"),
        ];
        for (body, want) in table {
            let encoded = encode_quoted(body, b"\r\n");
            assert_eq!(
                encoded.escape_ascii().to_string(),
                want.escape_ascii().to_string()
            );
        }
    }
}
