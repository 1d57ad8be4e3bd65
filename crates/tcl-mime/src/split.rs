//! The parts of a message: one pass over its lines, any nesting, any damage.
//!
//! mail-parser has a tree of its own, which is not used: it takes a boundary
//! anywhere in a line, its cost grows with the square of the parts of hostile
//! mail, and dropping its tree recurses once per nested message.

use std::collections::HashMap;
use std::ops::Range;

use memchr::memchr;

use super::content_type::ContentType;
use super::head::{self, Head};
use super::text::bytes_of;

/// How deep parts may lie in parts; what is deeper stays unparsed. Real mail
/// stays below ten. Tokens grow with the depth, and so does building.
pub(super) const MAX_DEPTH: usize = 100;

/// How many parts a message may have; the last one holds the rest. A part of
/// three bytes costs some hundred, so this bounds what hostile mail takes.
pub(super) const MAX_PARTS: usize = 20_000;

/// What follows the header of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Content.
    Leaf,
    /// Parts between boundaries.
    Multipart,
    /// A message as it is.
    Message,
    /// A message in base64 or quoted-printable; it is parsed after decoding.
    EncodedMessage,
}

/// One part: where it is in the message and what its header says.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    /// The part this one lies in, as its place in the list.
    pub(super) parent: Option<usize>,
    pub(super) kind: Kind,
    pub(super) head: Head,
    /// Header and body, without the line end before the next boundary, unless the last
    /// part in it is empty and begins behind that.
    pub(super) whole: Range<usize>,
    pub(super) body: Range<usize>,
}

/// Finds the parts of `data`, which itself lies `depth` deep and may have at
/// most `room` parts. Parents come before their parts; there is always a first.
pub(super) fn split(data: &[u8], depth: usize, room: usize) -> Vec<Outline> {
    let mut splitter = Splitter {
        data,
        depth,
        room: room.min(MAX_PARTS),
        parts: Vec::new(),
        open: Vec::new(),
        boundaries: HashMap::new(),
    };
    splitter.begin_part(None, 0);
    let (mut at, mut text_end) = (0, 0);
    while at < data.len() {
        let line = Line::at(data, at);
        splitter.take(&line, text_end);
        text_end = line.end;
        at = line.next;
    }
    splitter.close(0, data.len());
    splitter.parts
}

/// A line's place: its text ends at `end`, its line end (LF or CRLF) at `next`.
struct Line {
    start: usize,
    end: usize,
    next: usize,
}

impl Line {
    fn at(data: &[u8], start: usize) -> Line {
        let rest = &data[start..];
        let Some(feed) = memchr(b'\n', rest) else {
            let end = data.len();
            return Line {
                start,
                end,
                next: end,
            };
        };
        let text = &rest[..feed];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        Line {
            start,
            end: start + text.len(),
            next: start + feed + 1,
        }
    }
}

/// Where in a part the splitter is.
enum State {
    /// In the header that begins at `start`.
    Header { start: usize },
    /// Behind the header.
    Body,
}

/// A part whose end has not come yet.
struct Open {
    part: usize,
    state: State,
    /// Of a multipart until its closing delimiter.
    boundary: Option<Vec<u8>>,
}

struct Splitter<'a> {
    data: &'a [u8],
    depth: usize,
    room: usize,
    parts: Vec<Outline>,
    /// From the first part down to the one that the current line is in.
    open: Vec<Open>,
    /// The place in `open` of each boundary; the outermost of equal ones.
    boundaries: HashMap<Vec<u8>, usize>,
}

impl Splitter<'_> {
    fn begin_part(&mut self, parent: Option<usize>, start: usize) {
        self.open.push(Open {
            part: self.parts.len(),
            state: State::Header { start },
            boundary: None,
        });
        self.parts.push(Outline {
            parent,
            kind: Kind::Leaf,
            head: head::parse(b"", ContentType::unstated),
            whole: start..start,
            body: start..start,
        });
    }

    /// One line; `text_end` is where the text of the line before it ended.
    fn take(&mut self, line: &Line, text_end: usize) {
        loop {
            if let Some((place, closing)) = self.delimiter(line) {
                return self.cut(place, closing, line, text_end);
            }
            let Some(Open {
                state: State::Header { start },
                ..
            }) = self.open.last()
            else {
                return;
            };
            let start = *start;
            match self.role(line, start) {
                Role::Field => return,
                Role::Blank => return self.begin_body(start..line.start, line.next),
                Role::Postmark => return self.skip_postmark(line.next),
                // It may be a delimiter of what the header just declared, or
                // belong to the header of the message inside.
                Role::Content => self.begin_body(start..line.start, line.start),
            }
        }
    }

    /// Which boundary the line delimits (RFC 2046 §5.1.1), and whether it closes.
    fn delimiter(&self, line: &Line) -> Option<(usize, bool)> {
        if self.boundaries.is_empty() || self.parts.len() >= self.room {
            return None;
        }
        let text = self.data[line.start..line.end].strip_prefix(b"--")?;
        let text = text.trim_ascii_end();
        let next = self.boundaries.get(text).map(|&place| (place, false));
        let closing = text.strip_suffix(b"--");
        let closing = closing.and_then(|text| self.boundaries.get(text));
        let closing = closing.map(|&place| (place, true));
        // The outer multipart decides, whatever the inner one calls itself.
        match (next, closing) {
            (Some(next), Some(closing)) => Some(next.min(closing)),
            (next, closing) => next.or(closing),
        }
    }

    /// What a line is while the header that begins at `start` is read.
    fn role(&self, line: &Line, start: usize) -> Role {
        let text = &self.data[line.start..line.end];
        let first = line.start == start;
        match text.first() {
            None => Role::Blank,
            Some(b' ' | b'\t') if !first => Role::Field,
            _ if is_field(text) => Role::Field,
            _ if start == 0 && first && is_postmark(text) => Role::Postmark,
            _ => Role::Content,
        }
    }

    fn skip_postmark(&mut self, next: usize) {
        if let Some(open) = self.open.last_mut() {
            open.state = State::Header { start: next };
        }
    }

    /// Ends the innermost part's header, whose body begins at `body`.
    fn begin_body(&mut self, header: Range<usize>, body: usize) {
        let place = self.open.len() - 1;
        let part = self.open[place].part;
        self.open[place].state = State::Body;
        let head = head::parse(&self.data[header], self.unstated(part));
        let full = self.depth + place >= MAX_DEPTH || self.parts.len() >= self.room;
        let kind = if full { Kind::Leaf } else { kind(&head) };
        if kind == Kind::Multipart {
            let boundary = ContentType::boundary(&head.params).map(|text| bytes_of(&text));
            let boundary = boundary.filter(|text| !self.boundaries.contains_key(text));
            if let Some(boundary) = &boundary {
                self.boundaries.insert(boundary.clone(), place);
            }
            self.open[place].boundary = boundary;
        }
        let outline = &mut self.parts[part];
        outline.head = head;
        outline.body = body..body;
        // A multipart is one when its first delimiter has come.
        outline.kind = match kind {
            Kind::Multipart => Kind::Leaf,
            other => other,
        };
        if kind == Kind::Message {
            self.begin_part(Some(part), body);
        }
    }

    /// What a part is that does not say.
    fn unstated(&self, part: usize) -> fn() -> ContentType {
        let parent = self.parts[part].parent.map(|parent| &self.parts[parent]);
        match parent {
            Some(parent) if parent.head.content == "multipart/digest" => {
                ContentType::unstated_in_digest
            }
            _ => ContentType::unstated,
        }
    }

    /// A delimiter of the multipart at `place`: what lies in it ends here.
    fn cut(&mut self, place: usize, closing: bool, line: &Line, text_end: usize) {
        self.close(place + 1, text_end);
        let part = self.open[place].part;
        if closing {
            self.forget_boundary(place);
        } else {
            self.parts[part].kind = Kind::Multipart;
            self.begin_part(Some(part), line.next);
        }
    }

    fn forget_boundary(&mut self, place: usize) {
        if let Some(boundary) = self.open[place].boundary.take() {
            self.boundaries.remove(&boundary);
        }
    }

    /// Ends every open part from `place` on at `end`; an empty one where it
    /// began, if that is later, and then those around it there too.
    fn close(&mut self, place: usize, mut end: usize) {
        while self.open.len() > place {
            let last = self.open.len() - 1;
            self.forget_boundary(last);
            let Some(open) = self.open.pop() else { return };
            let unstated = self.unstated(open.part);
            let outline = &mut self.parts[open.part];
            end = end.max(outline.whole.start);
            if let State::Header { start } = open.state {
                outline.head = head::parse(&self.data[start.min(end)..end], unstated);
                outline.body.start = end;
            }
            outline.whole.end = end;
            // RFC 2046 §5.1.1: the blank line before a delimiter is the
            // delimiter's own, so an empty body begins in front of it.
            outline.body = outline.body.start.min(end)..end;
        }
    }
}

/// What a line is in a header.
enum Role {
    /// A field or the continuation of one.
    Field,
    /// The end of the header.
    Blank,
    /// The `From ` line of an mbox file.
    Postmark,
    /// No header line: the body begins with it.
    Content,
}

/// RFC 5322 §2.2: a name of visible characters, then a colon, perhaps after
/// white space (§4.5).
fn is_field(text: &[u8]) -> bool {
    let Some(colon) = memchr(b':', text) else {
        return false;
    };
    let name = text[..colon].trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

fn is_postmark(text: &[u8]) -> bool {
    text.starts_with(b"From ") || text.starts_with(b">From ")
}

fn kind(head: &Head) -> Kind {
    let encoded = matches!(head.encoding.as_str(), "base64" | "quoted-printable");
    match head.content.split('/').next() {
        Some("multipart") => Kind::Multipart,
        Some("message") if encoded => Kind::EncodedMessage,
        Some("message") => Kind::Message,
        _ => Kind::Leaf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part as `depth:type:body`.
    fn outline(message: &str) -> Vec<String> {
        let parts = split(message.as_bytes(), 0, MAX_PARTS);
        let mut depths: Vec<usize> = Vec::new();
        for part in &parts {
            depths.push(part.parent.map_or(0, |parent| depths[parent] + 1));
        }
        let lines = parts.iter().zip(depths).map(|(part, depth)| {
            let body = match part.kind {
                Kind::Leaf | Kind::EncodedMessage => &message[part.body.clone()],
                Kind::Multipart | Kind::Message => "...",
            };
            format!("{depth}:{}:{body}", part.head.content)
        });
        lines.collect()
    }

    #[test]
    fn structures() {
        let table: &[(&str, &[&str])] = &[
            ("", &["0:text/plain:"]),
            ("\n", &["0:text/plain:"]),
            ("just text\nwithout: header\n", &["0:text/plain:just text\nwithout: header\n"]),
            (" x: y\n\nz", &["0:text/plain: x: y\n\nz"]),
            ("A: b", &["0:text/plain:"]),
            ("A: b\r\n\r\nc\r\n", &["0:text/plain:c\r\n"]),
            ("A: b\nno field\n\nc", &["0:text/plain:no field\n\nc"]),
            ("From x Mon Jan 1 00:00:00 2024\nContent-Type: a/b\n\nc", &["0:a/b:c"]),
            // The line end before a delimiter belongs to it.
            (
                "Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\none\n\n--b\nContent-Type: a/b\n\n--b--\nepi\n",
                &["0:multipart/mixed:...", "1:text/plain:one\n", "1:a/b:"],
            ),
            (
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b  \r\nA: b\r\n--b--",
                &["0:multipart/mixed:...", "1:text/plain:one", "1:text/plain:"],
            ),
            // No boundary parameter, none found, none but the closing one.
            ("Content-Type: multipart/mixed\n\n--b\n", &["0:multipart/mixed:--b\n"]),
            ("Content-Type: multipart/mixed;boundary=b\n\nx\n", &["0:multipart/mixed:x\n"]),
            ("Content-Type: multipart/mixed;boundary=b\n\n--b--\n", &["0:multipart/mixed:--b--\n"]),
            // No blank line after the header; no closing delimiter.
            (
                "Content-Type: multipart/mixed;boundary=b\n--b\n\nx\n--bb\n",
                &["0:multipart/mixed:...", "1:text/plain:x\n--bb\n"],
            ),
            ("Content-Type: multipart/x; boundary=b\n\n--b", &["0:multipart/x:...", "1:text/plain:"]),
            // The outer boundary ends the inner multipart; what follows a closed one is no part.
            (
                "Content-Type: multipart/mixed;boundary=o\n\n--o\nContent-Type: multipart/mixed;boundary=oo\n\n--oo\n\n1\n--o\n\n2\n--oo\n3\n--o--\n--o\n",
                &["0:multipart/mixed:...", "1:multipart/mixed:...", "2:text/plain:1", "1:text/plain:2\n--oo\n3"],
            ),
            // The same boundary inside is the outer one's.
            (
                "Content-Type: multipart/mixed;boundary=o\n\n--o\nContent-Type: multipart/mixed;boundary=o\n\n--o\n\n2\n--o--\n",
                &["0:multipart/mixed:...", "1:multipart/mixed:", "1:text/plain:2"],
            ),
            (
                "Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nA: b\n\nx\n",
                &["0:message/rfc822:...", "1:message/rfc822:...", "2:text/plain:x\n"],
            ),
            // RFC 2046 §5.1.5: what lies in a digest is a message, if it does not say.
            (
                "Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: b\n\n1\n--b\nContent-Type: text/x\n\n2\n--b\n\nContent-Type: multipart/digest; boundary=c\n\n--c\n\nC: d\n\n3\n--c--\n--b--\n",
                &[
                    "0:multipart/digest:...",
                    "1:message/rfc822:...",
                    "2:text/plain:1",
                    "1:text/x:2",
                    "1:message/rfc822:...",
                    "2:multipart/digest:...",
                    "3:message/rfc822:...",
                    "4:text/plain:3",
                ],
            ),
            // A folded boundary, and one in pieces (RFC 2231).
            (
                "Content-Type: multipart/mixed; boundary=\"x\n y\"\n\n--x y\n\n1\n--x y--\n",
                &["0:multipart/mixed:...", "1:text/plain:1"],
            ),
            (
                "Content-Type: multipart/mixed; boundary*0=x;\n boundary*1*=%20y\n\n--x y\n\n1\n--x y--\n",
                &["0:multipart/mixed:...", "1:text/plain:1"],
            ),
            ("Content-Type: message/rfc822\n\n", &["0:message/rfc822:...", "1:text/plain:"]),
            (
                "Content-Type: message/rfc822\nContent-Transfer-Encoding: BASE64\n\nQTog\n",
                &["0:message/rfc822:QTog\n"],
            ),
        ];
        for (message, want) in table {
            assert_eq!(&outline(message), want, "{message:?}");
        }
    }

    #[test]
    fn nesting_and_number_are_bounded() {
        let nested = "Content-Type: message/rfc822\n\n".repeat(1000);
        assert_eq!(split(nested.as_bytes(), 0, MAX_PARTS).len(), MAX_DEPTH + 1);
        let head = "Content-Type: multipart/mixed; boundary=b\n\n";
        let many = format!("{head}{}", "--b\n\n".repeat(2 * MAX_PARTS));
        assert_eq!(split(many.as_bytes(), 0, MAX_PARTS).len(), MAX_PARTS);
        assert_eq!(split(many.as_bytes(), 0, 7).len(), 7);
    }
}
