//! Charsets: their names in mail and in Tcl, and decoding.

use charset::{Charset, UTF_7};
use mail_parser::decoders::charsets::map::charset_decoder;

/// Tcl's encoding, its name in mail, and further names in mail (IANA).
type Row = (&'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
static TABLE: &[Row] = &[
    ("ascii", "US-ASCII", &["ANSI_X3.4-1968", "iso-ir-6", "ANSI_X3.4-1986", "ISO_646.irv:1991",
        "ASCII", "ISO646-US", "us", "IBM367", "cp367"]),
    ("big5", "Big5", &[]),
    ("cp1250", "Windows-1250", &[]), ("cp1251", "Windows-1251", &[]),
    ("cp1252", "Windows-1252", &[]), ("cp1253", "Windows-1253", &[]),
    ("cp1254", "Windows-1254", &[]), ("cp1255", "Windows-1255", &[]),
    ("cp1256", "Windows-1256", &[]), ("cp1257", "Windows-1257", &[]),
    ("cp1258", "Windows-1258", &[]),
    ("cp437", "IBM437", &["cp437", "437"]),
    ("cp775", "IBM775", &["cp775"]),
    ("cp850", "IBM850", &["cp850", "850"]),
    ("cp852", "IBM852", &["cp852", "852"]),
    ("cp855", "IBM855", &["cp855", "855"]),
    ("cp857", "IBM857", &["cp857", "857"]),
    ("cp860", "IBM860", &["cp860", "860"]),
    ("cp861", "IBM861", &["cp861", "861", "cp-is"]),
    ("cp862", "IBM862", &["cp862", "862"]),
    ("cp863", "IBM863", &["cp863", "863"]),
    ("cp864", "IBM864", &["cp864"]),
    ("cp865", "IBM865", &["cp865", "865"]),
    ("cp866", "IBM866", &["cp866", "866"]),
    ("cp869", "IBM869", &["cp869", "869", "cp-gr"]),
    ("cp936", "GBK", &["CP936", "MS936", "Windows-936"]),
    ("euc-cn", "EUC-CN", &[]), ("euc-jp", "EUC-JP", &[]), ("euc-kr", "EUC-KR", &[]),
    ("gb12345", "GB12345", &[]), ("gb1988", "GB1988", &[]), ("gb2312", "GB2312", &[]),
    ("iso2022", "ISO-2022", &[]), ("iso2022-jp", "ISO-2022-JP", &[]),
    ("iso2022-kr", "ISO-2022-KR", &[]),
    ("iso8859-1", "ISO-8859-1", &["ISO_8859-1:1987", "iso-ir-100", "ISO_8859-1", "latin1", "l1",
        "IBM819", "CP819"]),
    ("iso8859-2", "ISO-8859-2", &["ISO_8859-2:1987", "iso-ir-101", "ISO_8859-2", "latin2", "l2"]),
    ("iso8859-3", "ISO-8859-3", &["ISO_8859-3:1988", "iso-ir-109", "ISO_8859-3", "latin3", "l3"]),
    ("iso8859-4", "ISO-8859-4", &["ISO_8859-4:1988", "iso-ir-110", "ISO_8859-4", "latin4", "l4"]),
    ("iso8859-5", "ISO-8859-5", &["ISO_8859-5:1988", "iso-ir-144", "ISO_8859-5", "cyrillic"]),
    ("iso8859-6", "ISO-8859-6", &["ISO_8859-6:1987", "iso-ir-127", "ISO_8859-6", "ECMA-114",
        "ASMO-708", "arabic"]),
    ("iso8859-7", "ISO-8859-7", &["ISO_8859-7:1987", "iso-ir-126", "ISO_8859-7", "ELOT_928",
        "ECMA-118", "greek", "greek8"]),
    ("iso8859-8", "ISO-8859-8", &["ISO_8859-8:1988", "iso-ir-138", "ISO_8859-8", "hebrew"]),
    ("iso8859-9", "ISO-8859-9", &["ISO_8859-9:1989", "iso-ir-148", "ISO_8859-9", "latin5", "l5"]),
    ("iso8859-10", "ISO-8859-10", &["iso-ir-157", "l6", "ISO_8859-10:1992", "latin6"]),
    ("iso8859-13", "ISO-8859-13", &[]),
    ("iso8859-14", "ISO-8859-14", &["iso-ir-199", "ISO_8859-14:1998", "ISO_8859-14", "latin8",
        "iso-celtic", "l8"]),
    ("iso8859-15", "ISO-8859-15", &["ISO_8859-15", "Latin-9"]),
    ("iso8859-16", "ISO-8859-16", &["iso-ir-226", "ISO_8859-16:2001", "ISO_8859-16", "latin10",
        "l10"]),
    ("jis0201", "JIS_X0201", &["X0201"]),
    ("jis0208", "JIS_C6226-1983", &["iso-ir-87", "x0208", "JIS_X0208-1983"]),
    ("jis0212", "JIS_X0212-1990", &["x0212", "iso-ir-159"]),
    ("koi8-r", "KOI8-R", &[]), ("koi8-u", "KOI8-U", &[]),
    ("ksc5601", "KS_C_5601-1987", &["iso-ir-149", "KS_C_5601-1989", "KSC5601", "korean"]),
    ("shiftjis", "Shift_JIS", &["MS_Kanji"]),
    ("tis-620", "TIS-620", &[]),
    ("utf-8", "UTF-8", &["UTF8"]),
];

/// `mapencoding`: the name in mail of one of Tcl's encodings, empty if it has none.
pub fn mime_name(tcl_name: &str) -> &'static str {
    let row = TABLE.iter().find(|(tcl, _, _)| *tcl == tcl_name);
    row.map_or("", |(_, mime, _)| mime)
}

/// `reversemapencoding`: Tcl's encoding for a charset of mail, empty if unknown.
pub fn tcl_name(mime_name: &str) -> &'static str {
    let is = |name: &&str| name.eq_ignore_ascii_case(mime_name);
    let row = TABLE
        .iter()
        .find(|(_, mime, more)| is(mime) || more.iter().any(is));
    row.map_or("", |(tcl, _, _)| tcl)
}

/// The characters that `body` stands for; `None`: the charset is not known.
/// Bytes that stand for none are kept as the characters of their numbers where
/// the charset has one byte per character or is UTF-8, as Tcl 8.6 does.
pub(super) fn decode(charset: &str, body: &[u8]) -> Option<String> {
    // mail-parser loses the character that ends a shifted run, and leaves `+-`.
    let utf_7 = Charset::for_label(charset.as_bytes()).filter(|found| *found == UTF_7);
    if let Some(utf_7) = utf_7 {
        return Some(utf_7.decode_without_bom_handling(body).0.into_owned());
    }
    match tcl_name(charset) {
        "utf-8" => Some(decode_utf8(body)),
        // mail-parser takes these for Windows-1252, as browsers do; Tcl does not.
        "ascii" | "iso8859-1" => Some(super::text::text_of(body)),
        _ => charset_decoder(charset.as_bytes()).map(|decode| decode(body)),
    }
}

fn decode_utf8(body: &[u8]) -> String {
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|&byte| char::from(byte)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let table = [
            ("utf-8", "utf8", "UTF-8"),
            ("iso8859-1", "latin1", "ISO-8859-1"),
            ("ascii", "us-ascii", "US-ASCII"),
            ("", "x-none", ""),
        ];
        for (tcl, alias, mime) in table {
            assert_eq!((tcl_name(alias), mime_name(tcl)), (tcl, mime), "{alias}");
        }
    }

    #[test]
    fn decoding() {
        let table: &[(&str, &[u8], Option<&str>)] = &[
            ("UTF-8", b"caf\xc3\xa9 \xff", Some("caf\u{e9} \u{ff}")),
            ("us-ascii", b"caf\xe9\x80", Some("caf\u{e9}\u{80}")),
            ("ISO-8859-1", b"\x80\xe9", Some("\u{80}\u{e9}")),
            ("windows-1252", b"\x80", Some("\u{20ac}")),
            ("koi8-r", b"\xf0", Some("\u{41f}")),
            ("Shift_JIS", b"\x83n", Some("\u{30cf}")),
            ("iso-2022-jp", b"\x1b$B%O\x1b(B", Some("\u{30cf}")),
            // RFC 2152, examples, and what mail programs write.
            ("utf-7", b"A+ImIDkQ.", Some("A\u{2262}\u{391}.")),
            ("utf-7", b"Hi Mom -+Jjo--!", Some("Hi Mom -\u{263a}-!")),
            ("utf-7", b"+ZeVnLIqe-", Some("\u{65e5}\u{672c}\u{8a9e}")),
            ("utf-7", b"Item 3 is +AKM-1.", Some("Item 3 is \u{a3}1.")),
            ("utf-7", b"1 +- 2", Some("1 + 2")),
            ("UNICODE-1-1-UTF-7", b"a +AKM. b", Some("a \u{a3}. b")),
            ("x-none", b"a", None),
            ("", b"a", None),
        ];
        for (charset, body, want) in table {
            assert_eq!(decode(charset, body).as_deref(), *want, "{charset}");
        }
    }
}
