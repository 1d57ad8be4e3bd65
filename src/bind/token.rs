//! Tokens of Tcllib's mime that were parsed, and whether a script has changed them.
//!
//! `mime::setheader`, of the message or of a part, is the only way to change one. Whether
//! it was used nothing tells; but then a header is another than mime reads from what the
//! token was made of. We read the headers much as mime does, and where they seem to differ
//! mime itself is asked to parse the source once more.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use crate::bind::message::bytes_of_token;
use crate::ffi::interp;
use crate::ffi::{Interp, Value};
use crate::stores::files::message_file::open_message;

/// What a token was made of.
pub enum Source {
    /// `-file`.
    File(PathBuf),
    /// `-string`.
    Text(Vec<u8>),
}

/// All headers of a message that are longer than this together are left to mime.
const LONGEST_HEADERS: usize = 1 << 20;

/// A token with more parts than this is taken for changed: a script may have made a part
/// its own part.
const MOST_PARTS: usize = 1 << 20;

/// What a token was parsed from, if nobody has changed it or its parts since.
pub fn unchanged_source(interp: &Interp, token: &Value) -> Option<Source> {
    let tree = Tree::of(interp, token.to_text())?;
    let element = |element: &str| interp::get_element(interp, &token.to_text(), Some(element));
    let (source, option, value) = match element("file") {
        // A part of a token that was made of this file.
        Some(_) if element("root").is_some() => return None,
        Some(path) => (Source::File(path.to_path()?), "-file", path),
        None => {
            let text = joined(&element("lines")?.to_list()?);
            (Source::Text(bytes_of_token(&text)), "-string", text)
        }
    };
    let headers = match &source {
        Source::File(path) => {
            let (file, _) = open_message(path).ok()?;
            headers(BufReader::new(file), &tree.boundaries)
        }
        Source::Text(text) => headers(&text[..], &tree.boundaries),
    };
    let same = headers.is_ok_and(|headers| tree.has(&headers));
    (same || tree.is_parsed_again(interp, option, value)).then_some(source)
}

fn joined(lines: &[Value]) -> Value {
    let lines: Vec<_> = lines.iter().map(Value::to_text).collect();
    Value::text(&lines.join("\n"))
}

/// The fields of a header by their names in lower case, as mime has them.
type Fields = BTreeMap<String, Vec<String>>;

/// What mime knows of a parsed message and its parts, in the order in which they stand there.
struct Tree {
    headers: Vec<Fields>,
    /// Those of its multipart messages and parts.
    boundaries: HashSet<Vec<u8>>,
}

impl Tree {
    /// None if a part of it was not parsed.
    fn of(interp: &Interp, token: String) -> Option<Self> {
        let mut tree = Self {
            headers: Vec::new(),
            boundaries: HashSet::new(),
        };
        let mut tokens = vec![token];
        while let Some(token) = tokens.pop() {
            let element = |name: &str| interp::get_element(interp, &token, Some(name));
            let parsed = element("canonicalP").is_some_and(|made| made.is("0"));
            if !parsed || tree.headers.len() == MOST_PARTS {
                return None;
            }
            tree.headers.push(fields_of(&element("header")?)?);
            let Some(parts) = element("parts") else {
                continue;
            };
            tokens.extend(parts.to_list()?.iter().rev().map(Value::to_text));
            let params = element("params")?.to_list()?;
            let boundary = params.chunks_exact(2).find(|pair| pair[0].is("boundary"));
            let boundary = boundary.map(|pair| bytes_of_token(&pair[1]));
            tree.boundaries.extend(boundary);
        }
        Some(tree)
    }

    /// Whether its headers are these.
    fn has(&self, headers: &[Vec<u8>]) -> bool {
        // mime 1.6 and 1.7 put "]" in the place of the CR at the end of a header line.
        ["", "]"].iter().any(|cr| {
            let headers = headers.iter().map(|header| read_header(header, cr));
            headers.map(|fields| fields.map(without_content)).eq(self
                .headers
                .iter()
                .cloned()
                .map(Some))
        })
    }

    /// Whether mime reads the same from its source now.
    fn is_parsed_again(&self, interp: &Interp, option: &str, source: Value) -> bool {
        let words = [
            Value::text("::mime::initialize"),
            Value::text(option),
            source,
        ];
        let Ok(token) = interp::call(interp, &words) else {
            return false;
        };
        let again = Self::of(interp, token.to_text());
        let finalized = interp::call(interp, &[Value::text("::mime::finalize"), token]);
        finalized.is_ok() && again.is_some_and(|again| again.headers == self.headers)
    }
}

/// The fields from mime's list of names and values.
fn fields_of(header: &Value) -> Option<Fields> {
    let items = header.to_list()?;
    let field = |pair: &[Value]| {
        let values = pair[1].to_list()?;
        Some((
            pair[0].to_text(),
            values.iter().map(Value::to_text).collect(),
        ))
    };
    items.chunks_exact(2).map(field).collect()
}

/// The headers of a message and of all in it that mime may take for a part.
///
/// Each is given whole, without the blank line after it.
fn headers(mut message: impl BufRead, boundaries: &HashSet<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
    let mut headers = Vec::new();
    let mut header = Some(Vec::new());
    // What is in front of the first delimiter, where mime finds a part if none follows.
    let mut preamble = false;
    let mut left = LONGEST_HEADERS;
    let mut line = Vec::new();
    loop {
        let continued = !line.is_empty() && !line.ends_with(b"\n");
        line.clear();
        let piece = &mut message.by_ref().take(LONGEST_HEADERS as u64);
        piece.read_until(b'\n', &mut line)?;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let delimiter = Delimiter::read(text, boundaries).filter(|_| !continued);
        if line.is_empty() || delimiter.is_some() {
            headers.extend(
                header
                    .take()
                    .filter(|lines| !preamble || may_be_part(lines)),
            );
            preamble = false;
            match delimiter {
                Some(Delimiter::Next) => header = Some(Vec::new()),
                Some(Delimiter::Last) => {}
                None => return Ok(headers),
            }
            continue;
        }
        match header.take() {
            None if boundaries.is_empty() => return Ok(headers),
            None => {}
            Some(lines) if text.is_empty() => {
                let content = content_type(&lines);
                headers.extend(Some(lines).filter(|lines| !preamble || may_be_part(lines)));
                preamble = content.starts_with("multipart/");
                header = (preamble || content.starts_with("message/")).then(Vec::new);
            }
            Some(mut lines) => {
                left = left.saturating_sub(line.len());
                if left == 0 {
                    return Err(io::Error::other("its headers are too long"));
                }
                lines.extend_from_slice(&line);
                header = Some(lines);
            }
        }
    }
}

/// A line between parts (RFC 2046 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delimiter {
    /// A part follows.
    Next,
    /// None does.
    Last,
}

impl Delimiter {
    fn read(line: &[u8], boundaries: &HashSet<Vec<u8>>) -> Option<Self> {
        let line = line.strip_prefix(b"--")?;
        let is = |line: &[u8]| boundaries.contains(line);
        match line.strip_suffix(b"--") {
            _ if is(line) => Some(Self::Next),
            Some(line) if is(line) => Some(Self::Last),
            _ => None,
        }
    }
}

/// Whether what is in front of the first delimiter may be taken for a part: no header that
/// can be read, as in most mail, is none.
fn may_be_part(preamble: &[u8]) -> bool {
    read_header(preamble, "").is_some_and(|fields| !fields.is_empty())
}

/// What a header says of the content, in lower case.
fn content_type(header: &[u8]) -> String {
    let fields = read_header(header, "").unwrap_or_default();
    let content = fields.get("content-type").and_then(|values| values.first());
    content
        .map(|content| content.to_lowercase())
        .unwrap_or_default()
}

/// Reads a header as Tcllib's mime does, with `cr` for the CR before a line's end.
fn read_header(header: &[u8], cr: &str) -> Option<Fields> {
    let mut unfolded: Vec<Vec<u8>> = Vec::new();
    for line in header.split_inclusive(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = match line.strip_suffix(b"\r") {
            Some(line) => [line, cr.as_bytes()].concat(),
            None => line.to_vec(),
        };
        match (line.first(), unfolded.last_mut()) {
            (Some(b' ' | b'\t'), Some(field)) => {
                field.push(b'\n');
                field.extend(line);
            }
            _ => unfolded.push(line),
        }
    }
    let mut fields = Fields::new();
    for field in unfolded {
        let colon = field.iter().position(|&b| b == b':')?;
        let text = |bytes: &[u8]| bytes.iter().map(|&b| char::from(b)).collect::<String>();
        let name = text(&field[..colon]).trim_end().to_lowercase();
        let value = text(&field[colon + 1..]).trim().to_owned();
        fields.entry(name).or_default().push(value);
    }
    Some(fields)
}

/// Without what mime keeps in other places; `setheader` refuses to change it.
fn without_content(mut fields: Fields) -> Fields {
    const CONTENT: [&str; 4] = [
        "content-type",
        "content-md5",
        "content-transfer-encoding",
        "mime-version",
    ];
    fields.retain(|name, _| !CONTENT.contains(&&**name));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(items: &[(&str, &[&str])]) -> Fields {
        let values = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
        let field = |(name, v): &(&str, &[&str])| ((*name).to_owned(), values(v));
        items.iter().map(field).collect()
    }

    #[test]
    fn headers_are_read_as_mime_reads_them() {
        let header = b"Subject: one\r\n two\r\nX: 1\nx:  2 \nContent-Type: text/plain\n";
        let want = |subject| {
            let content: &[(&str, &[&str])] = &[("content-type", &["text/plain"])];
            let others: &[(&str, &[&str])] = &[("subject", &[subject]), ("x", &["1", "2"])];
            fields(&[content, others].concat())
        };
        assert_eq!(read_header(header, ""), Some(want("one\n two")));
        assert_eq!(read_header(header, "]"), Some(want("one]\n two]")));
        assert_eq!(read_header(b"no field\n", ""), None);
        assert_eq!(read_header(b"", ""), Some(Fields::new()));
    }

    #[test]
    fn headers_of_parts_are_found() {
        let only_b = HashSet::from([b"b".to_vec()]);
        let multi = "A: 1\r\nContent-Type: multipart/mixed\r\n";
        let table: &[(&str, &[&str])] = &[
            ("", &[""]),
            ("A: 1", &["A: 1"]),
            ("A: 1\n\n--b\nB: 2\n", &["A: 1\n", "B: 2\n"]),
            ("A: 1\n\n--c\nB: 2\n", &["A: 1\n"]),
            ("A: 1\n\n--b--\nB: 2\n", &["A: 1\n"]),
            (
                "A: 1\n\n--b\n\n--b\nC: 3\n--b--\nD: 4\n",
                &["A: 1\n", "", "C: 3\n"],
            ),
            (
                "Content-Type: message/rfc822\n\nB: 2\n\nC: 3\n",
                &["Content-Type: message/rfc822\n", "B: 2\n"],
            ),
            (&format!("{multi}\r\n--b\r\n\r\n--b--"), &[multi, ""]),
            (&format!("{multi}\r\n\r\n--b\r\nB: 2"), &[multi, "B: 2"]),
            (
                &format!("{multi}\r\nB: 2\r\n\r\ntext\r\n--b--"),
                &[multi, "B: 2\r\n"],
            ),
        ];
        for (message, want) in table {
            let found = headers(message.as_bytes(), &only_b).unwrap();
            let found: Vec<_> = found.iter().map(|h| String::from_utf8_lossy(h)).collect();
            assert_eq!(found, *want, "{message:?}");
        }
        let long = [&[b'x'; 2 * LONGEST_HEADERS][..], b"\n--b\nB: 2\n\n"].concat();
        assert!(headers(&long[..], &only_b).is_err());
        let body = [b"A: 1\n\n", &long[..]].concat();
        assert_eq!(headers(&body[..], &only_b).unwrap().len(), 2);
        assert_eq!(headers(&body[..], &HashSet::new()).unwrap().len(), 1);
    }

    #[test]
    fn a_changed_header_is_noticed() {
        let headers = ["A: 1\r\n", "B: 2\r\n", ""].map(|h| h.as_bytes().to_vec());
        let with = |all: &[&Fields]| {
            let tree = Tree {
                headers: all.iter().map(|fields| (*fields).clone()).collect(),
                boundaries: HashSet::new(),
            };
            tree.has(&headers)
        };
        let field = |name, value: &'static str| fields(&[(name, &[value])]);
        let (a, b, none) = (&field("a", "1"), &field("b", "2"), &fields(&[]));
        let (quirky_a, quirky_b) = (&field("a", "1]"), &field("b", "2]"));
        assert!(with(&[a, b, none]));
        assert!(with(&[quirky_a, quirky_b, none]));
        for changed in [
            &[quirky_a, b, none][..],
            &[b, a, none],
            &[a, b],
            &[a, b, none, none],
            &[a, none, none],
            &[&field("a", "changed"), b, none],
        ] {
            assert!(!with(changed), "{changed:?}");
        }
    }
}
