//! The model behind the fallback package `mime`: parts of messages, parsed or
//! built, under tokens like `::mime::1` and `::mime::1-2`.
//!
//! A [`Recipe`] takes the options of `initialize`; a [`Store`] holds the parts
//! of one interpreter and does what the package's commands do. Bytes stay where
//! they were read: every part of a message is a range of one shared buffer.
//! No mail is refused, whatever is wrong with it, and parsing costs time and
//! memory in proportion to its size (`split.rs` has the bounds). mail-parser
//! finds the fields of a header, repairs broken Content-Types, and decodes
//! base64, quoted-printable and charsets.
//!
//! # Where this differs from Tcllib's mime (1.7.0), deliberately
//!
//! Parsing:
//! 1. Nothing is an error. There: `improper line in header` (here the body
//!    begins with that line: one without a colon, or whose field name has a blank in it
//!    or a character beyond ASCII, RFC 5322 §2.2), a missing or empty boundary, the end of a string
//!    before the closing boundary, a second Content-Type or encoding (here the
//!    first counts).
//! 2. A multipart without a boundary line is a leaf. A part that the closing
//!    boundary does not end keeps its type (there `application/octet-stream`).
//! 3. Lines in CRLF are read as such. There each header line gets a `]`, and
//!    parts of a string lose their CR.
//! 4. A boundary may have blanks behind it (RFC 2046 §5.1.1), be folded, and be written
//!    in pieces or percent-encoded (RFC 2231). The parameters are shown as written.
//! 5. A Content-Type that breaks the grammar is repaired where possible; there
//!    it counts as absent.
//! 6. A message in base64 or quoted-printable is decoded from files too, not
//!    only from strings.
//! 7. Parts nest 100 deep and are 20,000 at most; what goes beyond is content.
//! 8. The `From ` line of an mbox file in front of the header is skipped.
//!    A part of a multipart/digest that does not state its type is a message
//!    (RFC 2046 §5.1.5).
//! 9. Parameters come in their written order (there in that of a hash table).
//!
//! Reading:
//! 10. Damaged base64 and quoted-printable is decoded as far as it goes, with
//!     CRLF too. An unknown encoding is left alone, never an error.
//! 11. A parsed part shows the encoding that it states; there one may be made
//!     up, and then neither applied nor true.
//! 12. `getbody -decode` knows mail-parser's charsets besides Tcl's encodings
//!     (which the binding asks; the model alone refuses some rare ones).
//! 13. Content with characters above 255 is its UTF-8 bytes from the start.
//! 14. A file is read at once, so that a token outlives its file.
//!
//! Changing and building:
//! 15. An untouched parsed message builds to its own bytes; one with a changed
//!     header keeps its body, and every part in which nothing changed, exactly.
//!     A rewritten header has the line ends of the message.
//! 16. One Content-Transfer-Encoding line, one Content-Type (there two of the
//!     first, and the second broken when the boundary is generated); a
//!     multipart with any parameter but `boundary` still gets a boundary.
//! 17. CRLF in a built text is a line end, not a reason to encode, and does not
//!     become CR CR LF. A `binary` body goes out as it is.
//! 18. Text with 8-bit characters in it is always encoded, also if its charset
//!     is ISO-8859 and its lines are short.
//! 19. `setheader` checks its mode before it changes anything; setting a
//!     read-only field to the value it has does nothing.
//! 20. A token that is none is the error `unknown mime token "T"`, also in
//!     `-parts`; a part that was finalized early does not hinder its parent's
//!     `finalize`.
//! 21. `-string` beside another source is refused, as the others are.

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod build;
mod charset;
mod choose;
mod codec;
mod content_type;
mod error;
mod fields;
mod head;
mod ids;
mod part;
mod query;
mod recipe;
mod split;
mod store;
mod text;

pub use build::Eol;
pub use charset::{mime_name, tcl_name};
pub use error::{BodyError, FieldError, FinalizeError, PropertyError, RecipeError, UnknownToken};
pub use part::{Slice, Token};
pub use query::Property;
pub use recipe::{Recipe, Setting};
pub use store::Store;
pub use text::{bytes_of, text_of};
