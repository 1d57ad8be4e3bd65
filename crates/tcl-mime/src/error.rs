//! What the package's commands refuse, worded as Tcllib words it.

use thiserror::Error;

/// Why `initialize` refused its options.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RecipeError {
    /// An option of another name.
    #[error("unknown option {0}")]
    UnknownOption(String),
    /// The last option came without its value.
    #[error("missing argument to {0}")]
    MissingArgument(String),
    /// `-param` or `-header` with something else than a pair; the option and what was given.
    #[error("{0} expects a key and a value, not {1}")]
    NotAPair(&'static str, String),
    /// A parameter was given again.
    #[error("the {0} parameter may be specified at most once")]
    RepeatedParam(String),
    /// Not one of the five encodings of RFC 2045 §6.1.
    #[error("unknown value for -encoding {0}")]
    UnknownEncoding(String),
    /// A field that another option sets: that option, and the pair as given.
    #[error("use {0} instead of -header {1}")]
    FieldHasOption(&'static str, String),
    /// A field that belongs to the package.
    #[error("don't go there...")]
    ReservedField,
    /// No source of the content, or several.
    #[error("specify exactly one of -file, -parts, or -string")]
    NotOneSource,
    /// An option that only a built part can have.
    #[error("{0} requires -canonical")]
    RequiresCanonical(&'static str),
    /// Parts in a type that has none.
    #[error("-canonical {0} and -parts do not mix")]
    TypeHasNoParts(String),
    /// A composite part is not itself encoded (RFC 2045 §6.4).
    #[error("-encoding and -parts do not mix")]
    PartsAreNotEncoded,
    /// A token in `-parts` that no part has.
    #[error(transparent)]
    UnknownToken(#[from] UnknownToken),
    /// The file of `-file`; the text is the reader's.
    #[error("{0}")]
    File(String),
}

/// No part has this token: it was never given out, or has been finalized.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("unknown mime token \"{0}\"")]
pub struct UnknownToken(pub String);

/// Why a property cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PropertyError {
    /// See [`UnknownToken`].
    #[error(transparent)]
    UnknownToken(#[from] UnknownToken),
    /// No property has this name.
    #[error("unknown property {0}")]
    Unknown(String),
    /// `parts` of a part that has none.
    #[error("MIME part is a leaf")]
    Leaf,
}

/// Why a header field cannot be read or set.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FieldError {
    /// See [`UnknownToken`].
    #[error(transparent)]
    UnknownToken(#[from] UnknownToken),
    /// The header has no such field.
    #[error("key {0} not in header")]
    Missing(String),
    /// A field that describes the content and follows from it.
    #[error("key {0} may not be set")]
    ReadOnly(String),
    /// Not `write`, `append` or `delete`.
    #[error("unknown value for -mode {0}")]
    UnknownMode(String),
}

/// Why a body cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BodyError {
    /// See [`UnknownToken`].
    #[error(transparent)]
    UnknownToken(#[from] UnknownToken),
    /// The content is parts, each with its own body.
    #[error("MIME part isn't a leaf")]
    NotALeaf,
    /// The declared charset is not known.
    #[error("-decode failed: can't reversemap charset {0}")]
    UnknownCharset(String),
}

/// Why `finalize` did nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FinalizeError {
    /// See [`UnknownToken`].
    #[error(transparent)]
    UnknownToken(#[from] UnknownToken),
    /// Not `all`, `dynamic` or `none`.
    #[error("unknown value for -subordinates {0}")]
    UnknownSubordinates(String),
}
