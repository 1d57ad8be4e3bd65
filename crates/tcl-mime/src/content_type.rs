//! The value of a Content-Type field: `type/subtype` and parameters.
//!
//! Parameters stay as they were written (names in lower case, `name*0` and
//! `\"` as they are): that is what scripts written for Tcllib expect.

use std::borrow::Cow;
use std::collections::HashMap;

use mail_parser::parsers::MessageStream;

/// A broken value longer than this is not repaired: the repair is not linear.
const LONGEST_REPAIRED: usize = 4096;

/// `type/subtype` in lower case and parameters in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContentType {
    pub(super) content: String,
    pub(super) params: Vec<(String, String)>,
}

impl ContentType {
    /// RFC 2045 §5.2: what a part is that does not say, or not understandably.
    pub(super) fn unstated() -> ContentType {
        ContentType {
            content: "text/plain".into(),
            params: vec![("charset".into(), "us-ascii".into())],
        }
    }

    /// Reads a value strictly, else as mail-parser understands it, else not at all.
    pub(super) fn parse(value: &str) -> ContentType {
        strict(value)
            .or_else(|| repaired(value))
            .unwrap_or_else(ContentType::unstated)
    }

    /// RFC 2046 §5.1.5: what a part of a multipart/digest is that does not say.
    pub(super) fn unstated_in_digest() -> ContentType {
        ContentType {
            content: "message/rfc822".into(),
            params: Vec::new(),
        }
    }

    /// The boundary between the parts of a multipart (RFC 2046 §5.1.1: it does
    /// not end in white space). It may be folded, and written as RFC 2231 §3 and §4
    /// allow: `boundary*=`, `boundary*0=`, `boundary*0*=`.
    pub(super) fn boundary(params: &[(String, String)]) -> Option<Cow<'_, str>> {
        let boundary = match params.iter().find(|(name, _)| name == "boundary") {
            Some((_, boundary)) if !boundary.contains(['\n', '\\']) => Cow::Borrowed(&**boundary),
            _ => Cow::Owned(read_boundary(params)?),
        };
        let boundary = match boundary {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_end()),
            Cow::Owned(text) => Cow::Owned(text.trim_end().to_owned()),
        };
        Some(boundary).filter(|boundary| !boundary.is_empty())
    }
}

/// What mail-parser makes of the parameters that are the boundary or its pieces.
fn read_boundary(params: &[(String, String)]) -> Option<String> {
    let mut value = String::from("multipart/mixed");
    for (name, text) in params {
        match name.strip_prefix("boundary") {
            // Percent-encoded, so never quoted.
            Some(rest) if rest.ends_with('*') => value.push_str(&format!("; {name}={text}")),
            Some(rest) if rest.is_empty() || rest.starts_with('*') => {
                value.push_str(&format!("; {name}=\"{text}\""));
            }
            _ => {}
        }
    }
    if value.len() > LONGEST_REPAIRED {
        return None;
    }
    // RFC 5322 §2.2.3: the line end of a fold is no part of the value.
    let line = format!("{}\n", value.replace('\n', ""));
    let parsed = MessageStream::new(line.as_bytes()).parse_content_type();
    let boundary = parsed.as_content_type()?.attribute("boundary")?;
    Some(boundary.to_owned())
}

/// A lexeme of RFC 2045 §5.1.
#[derive(Debug, PartialEq, Eq)]
enum Lexeme<'a> {
    Atom(&'a str),
    /// Without its quotes.
    Quoted(&'a str),
    Special(u8),
    Unclosed,
}

/// The lexemes of a value; comments are left out.
struct Lexer<'a>(&'a str);

impl<'a> Lexer<'a> {
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    /// The length up to and with the unescaped `close`, which `self` starts to enclose.
    fn enclosed(&self, open: u8, close: u8) -> Option<usize> {
        let (mut depth, mut escaped) = (0usize, false);
        for (at, &byte) in self.0.as_bytes().iter().enumerate() {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == close && depth > 0 {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            } else if byte == open {
                depth += 1;
            }
        }
        None
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Lexeme<'a>;

    fn next(&mut self) -> Option<Lexeme<'a>> {
        loop {
            self.0 = self.0.trim_start();
            let first = *self.0.as_bytes().first()?;
            return Some(match first {
                b'(' => match self.enclosed(b'(', b')') {
                    Some(length) => {
                        self.take(length);
                        continue;
                    }
                    None => self.unclosed(),
                },
                b'"' => match self.enclosed(b'"', b'"') {
                    Some(length) => {
                        let quoted = self.take(length);
                        Lexeme::Quoted(&quoted[1..length - 1])
                    }
                    None => self.unclosed(),
                },
                _ if is_special(first) => {
                    self.take(1);
                    Lexeme::Special(first)
                }
                _ => {
                    let ends = |byte: &u8| is_special(*byte) || byte.is_ascii_whitespace();
                    let length = self.0.as_bytes().iter().position(ends);
                    Lexeme::Atom(self.take(length.unwrap_or(self.0.len())))
                }
            });
        }
    }
}

impl<'a> Lexer<'a> {
    fn unclosed(&mut self) -> Lexeme<'a> {
        self.0 = "";
        Lexeme::Unclosed
    }
}

fn is_special(byte: u8) -> bool {
    b";,<>:?()@\"[]=/\\".contains(&byte)
}

/// Parameters, the last value of each name, at the place of its first.
#[derive(Default)]
struct Params {
    list: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Params {
    fn set(&mut self, name: String, value: String) {
        let place = *self.places.entry(name.clone()).or_insert(self.list.len());
        match self.list.get_mut(place) {
            Some(param) => param.1 = value,
            None => self.list.push((name, value)),
        }
    }
}

/// RFC 2045 §5.1, exactly.
fn strict(value: &str) -> Option<ContentType> {
    let mut lexer = Lexer(value);
    let Some(Lexeme::Atom(kind)) = lexer.next() else {
        return None;
    };
    match lexer.next() {
        Some(Lexeme::Special(b'/')) => {}
        // Mail older than MIME (RFC 1049) says `message` alone.
        None if kind.eq_ignore_ascii_case("message") => {
            return Some(ContentType {
                content: "message/rfc822".into(),
                params: Vec::new(),
            })
        }
        _ => return None,
    }
    let Some(Lexeme::Atom(subtype)) = lexer.next() else {
        return None;
    };
    let mut params = Params::default();
    loop {
        match lexer.next() {
            None => break,
            Some(Lexeme::Special(b';')) => {}
            Some(_) => return None,
        }
        let name = match lexer.next() {
            None => break,
            Some(Lexeme::Atom(name)) => name.to_lowercase(),
            Some(_) => return None,
        };
        if lexer.next() != Some(Lexeme::Special(b'=')) {
            return None;
        }
        match lexer.next() {
            Some(Lexeme::Atom(value) | Lexeme::Quoted(value)) => params.set(name, value.into()),
            _ => return None,
        }
    }
    Some(ContentType {
        content: format!("{kind}/{subtype}").to_lowercase(),
        params: params.list,
    })
}

/// What mail-parser makes of a value that breaks the grammar.
fn repaired(value: &str) -> Option<ContentType> {
    if value.len() > LONGEST_REPAIRED {
        return None;
    }
    // The parser of a field wants its line end.
    let line = format!("{}\n", value.replace('\n', " "));
    let parsed = MessageStream::new(line.as_bytes()).parse_content_type();
    let parsed = parsed.as_content_type()?;
    let (kind, subtype) = (parsed.ctype(), parsed.subtype()?);
    if !is_token(kind) || !is_token(subtype) {
        return None;
    }
    let mut params = Params::default();
    for attribute in parsed.attributes().unwrap_or_default() {
        let name = attribute.name.to_lowercase();
        params.set(name, attribute.value.clone().into_owned());
    }
    Some(ContentType {
        content: format!("{kind}/{subtype}").to_lowercase(),
        params: params.list,
    })
}

fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !is_special(byte);
    !text.is_empty() && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content: &str, params: &[(&str, &str)]) -> ContentType {
        let params = params.iter().map(|&(k, v)| (k.into(), v.into()));
        ContentType {
            content: content.into(),
            params: params.collect(),
        }
    }

    #[test]
    fn boundaries() {
        let table = [
            ("a/b; boundary=x", Some("x")),
            ("a/b; boundary=\"x y  \"", Some("x y")),
            ("a/b; boundary=\"x\n y\"", Some("x y")),
            ("a/b; boundary=\"x\\\"y\"", Some("x\"y")),
            ("a/b; boundary*=us-ascii''x%20y%3D", Some("x y=")),
            ("a/b; boundary*0=x; boundary*1=\"y z\"", Some("xy z")),
            ("a/b; boundary*1=y; boundary*0=x", Some("xy")),
            (
                "a/b; boundary*0*=us-ascii'en'x%3D; boundary*1=y; boundary*2*=%20z",
                Some("x=y z"),
            ),
            ("a/b; boundaryless=x", None),
            ("a/b; boundary=\"\"", None),
            ("a/b", None),
        ];
        for (value, want) in table {
            let parsed = ContentType::parse(value);
            assert_eq!(
                ContentType::boundary(&parsed.params).as_deref(),
                want,
                "{value:?}"
            );
        }
    }

    #[test]
    fn values() {
        let plain = ContentType::unstated;
        let table = [
            ("text/html", of("text/html", &[])),
            (
                "TEXT/Html ; Charset=UTF-8",
                of("text/html", &[("charset", "UTF-8")]),
            ),
            ("text/plain;", of("text/plain", &[])),
            (
                "a/b; x=\"1; 2\" ;\n y=3 (a (nested) \\) comment)",
                of("a/b", &[("x", "1; 2"), ("y", "3")]),
            ),
            (
                "a/b; name*0*=utf-8''x; name*1=\"\\\"y\"; a=1; a=2",
                of(
                    "a/b",
                    &[("name*0*", "utf-8''x"), ("name*1", "\\\"y"), ("a", "2")],
                ),
            ),
            ("message", of("message/rfc822", &[])),
            // Broken, repaired by mail-parser.
            ("text/html; charset=", of("text/html", &[])),
            (
                "text/html; charset=\"utf-8",
                of("text/html", &[("charset", "utf-8")]),
            ),
            ("text/html charset=utf-8", plain()),
            // Beyond repair.
            ("", plain()),
            ("text", plain()),
            ("/", plain()),
            ("(open", plain()),
            (";;;===\"", plain()),
        ];
        for (value, want) in table {
            assert_eq!(ContentType::parse(value), want, "{value:?}");
        }
    }
}
