//! The header block of a part: its fields and what they say of the content.

use std::sync::LazyLock;

use mail_parser::{parsers::MessageStream, Header, HeaderName, MessageParser};

use super::content_type::ContentType;
use super::fields::Fields;
use super::text::text_of;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// `type/subtype`, in lower case.
    pub(super) content: String,
    pub(super) params: Vec<(String, String)>,
    /// The Content-Transfer-Encoding in lower case; empty: none is stated.
    pub(super) encoding: String,
    /// The MIME-Version.
    pub(super) version: String,
    /// Every other field.
    pub(super) fields: Fields,
}

/// Finds the fields and leaves their values alone: one setting for one name is
/// what makes mail-parser skip its parsers for addresses, dates and so on.
static FINDER: LazyLock<MessageParser> = LazyLock::new(|| {
    MessageParser::new()
        .default_header_raw()
        .header_raw(HeaderName::ContentType)
});

/// Reads the fields of a header block, which ends before the blank line. `unstated` is
/// what the part is if it does not say.
pub(super) fn parse(block: &[u8], unstated: fn() -> ContentType) -> Head {
    let mut found: Vec<Header<'_>> = Vec::new();
    MessageStream::new(block).parse_headers(&FINDER, &mut found);

    let mut content_type = None;
    let mut encoding = None;
    let mut version = None;
    let fields = Fields::collect(found.iter().filter_map(|header| {
        let (name, value) = pair(block, header)?;
        match name.to_ascii_lowercase().as_str() {
            // RFC 2045 allows each once; of several, the first is believed.
            "content-type" => _ = content_type.get_or_insert_with(|| ContentType::parse(&value)),
            "content-transfer-encoding" => _ = encoding.get_or_insert_with(|| value.to_lowercase()),
            "mime-version" => version = Some(value),
            // Tcllib neither shows nor keeps the digest.
            "content-md5" => {}
            _ => return Some((name, value)),
        }
        None
    }));
    let ContentType { content, params } = content_type.unwrap_or_else(unstated);
    Head {
        content,
        params,
        encoding: encoding.unwrap_or_default(),
        version: version.unwrap_or_else(|| "1.0".into()),
        fields,
    }
}

/// A field's name as written, and its value: folds are kept, with LF alone.
fn pair(block: &[u8], header: &Header<'_>) -> Option<(String, String)> {
    let start = header.offset_start as usize;
    let name = block.get(header.offset_field as usize..start)?;
    let value = block.get(start..header.offset_end as usize)?;
    let name = name.strip_suffix(b":").unwrap_or(name).trim_ascii();
    let mut value = text_of(value.trim_ascii());
    if value.contains("\r\n") {
        value = value.replace("\r\n", "\n");
    }
    Some((text_of(name), value))
}
