//! One part: what it is, what its header says, where its content lies.

use std::ops::{Deref, Range};
use std::sync::Arc;

use super::choose;
use super::fields::Fields;

/// The name of a part: `::mime::N`, and `::mime::N-1` … for the parts in it.
pub type Token = Box<str>;

/// Bytes of a message, shared with every part of it.
#[derive(Debug, Clone)]
pub struct Slice {
    data: Arc<[u8]>,
    range: Range<usize>,
}

impl Slice {
    pub(super) fn new(data: Arc<[u8]>, range: Range<usize>) -> Slice {
        debug_assert!(range.start <= range.end && range.end <= data.len());
        Slice { data, range }
    }

    /// The same bytes' buffer and their place in it.
    pub(super) fn parts(&self) -> (&Arc<[u8]>, Range<usize>) {
        (&self.data, self.range.clone())
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data[self.range.clone()]
    }
}

/// What a part holds.
#[derive(Debug)]
pub(super) enum Body {
    /// Content of its own: as transferred if parsed, canonical if built.
    Leaf(Slice),
    /// Other parts.
    Parts(Vec<Token>),
}

/// Where a part comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// A message's bytes.
    Parsed {
        /// Header and body.
        whole: Slice,
        /// Where in the message the body lies.
        body: Range<usize>,
        /// Its own header was changed.
        rewritten: bool,
        /// Its header or one within it was changed.
        touched: bool,
    },
    /// A script's content and options.
    Built {
        /// Between its parts, unless a parameter says so.
        boundary: Option<String>,
    },
}

#[derive(Debug)]
pub(super) struct Part {
    pub(super) content: String,
    pub(super) params: Vec<(String, String)>,
    /// As stated; empty: nothing is.
    pub(super) encoding: String,
    pub(super) version: String,
    pub(super) fields: Fields,
    pub(super) body: Body,
    pub(super) origin: Origin,
}

impl Part {
    /// The parts that parsing made, which go with this one.
    pub(super) fn dynamic(&self) -> &[Token] {
        match (&self.origin, &self.body) {
            (Origin::Parsed { .. }, Body::Parts(parts)) => parts,
            _ => &[],
        }
    }

    /// The Content-Transfer-Encoding that the header shows; empty: none.
    pub(super) fn transfer_encoding(&self) -> &str {
        match (&self.origin, &self.body) {
            (Origin::Built { .. }, Body::Leaf(body)) if self.encoding.is_empty() => {
                choose::encoding(&self.content, &self.params, body)
            }
            _ => &self.encoding,
        }
    }

    /// The Content-Type field's value, folded as Tcllib folds it.
    pub(super) fn content_type(&self) -> String {
        let mut value = self.content.clone();
        let params = self.params.iter();
        let params = params.map(|(name, value)| (name.as_str(), value.as_str()));
        let boundary = match &self.origin {
            Origin::Built {
                boundary: Some(text),
            } => Some(("boundary", text.as_str())),
            _ => None,
        };
        for (name, text) in params.chain(boundary) {
            value.push_str(&format!(";\n              {name}=\"{text}\""));
        }
        value
    }

    /// Every field in Tcllib's order: MIME-Version, the fields, then what
    /// describes the content.
    pub(super) fn header(&self) -> Vec<(String, String)> {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut header = vec![own(("MIME-Version", &self.version))];
        header.extend(self.fields.pairs().map(own));
        let encoding = self.transfer_encoding();
        if !encoding.is_empty() {
            header.push(own(("Content-Transfer-Encoding", encoding)));
        }
        header.push(own(("Content-Type", &self.content_type())));
        header
    }
}
