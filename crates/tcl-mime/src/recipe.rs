//! The options of `initialize`, checked in the order in which they are given.

use super::error::RecipeError;
use super::fields::Fields;
use super::part::Token;

/// One option with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `-canonical type/subtype`: the content is given, not parsed.
    Canonical(String),
    /// `-param {name value}` of the Content-Type.
    Param(String, String),
    /// `-encoding`, one of the five of RFC 2045 §6.1.
    Encoding(String),
    /// `-header {name value}`.
    Header(String, String),
    /// `-file name`.
    File(String),
    /// `-string content`.
    Content(Vec<u8>),
    /// `-parts {token …}`.
    Parts(Vec<Token>),
}

/// The source of the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    File(String),
    Content(Vec<u8>),
    Parts(Vec<Token>),
}

/// What a part is to be made of. Errors come where Tcllib raises them.
#[derive(Debug, Default)]
pub struct Recipe {
    pub(super) content: Option<String>,
    pub(super) params: Vec<(String, String)>,
    pub(super) encoding: String,
    fields: Vec<(String, String)>,
    file: Option<Source>,
    string: Option<Source>,
    parts: Option<Source>,
}

impl Recipe {
    /// No option yet.
    pub fn new() -> Recipe {
        Recipe::default()
    }

    /// Takes the next option. A source, type or encoding that is given again
    /// replaces the earlier one.
    pub fn add(&mut self, setting: Setting) -> Result<(), RecipeError> {
        match setting {
            Setting::Canonical(content) => self.content = Some(content.to_lowercase()),
            Setting::Param(name, value) => self.add_param(&name, value)?,
            Setting::Encoding(encoding) => self.set_encoding(&encoding)?,
            Setting::Header(name, value) => self.add_field(name, value)?,
            Setting::File(name) => self.file = Some(Source::File(name)),
            Setting::Content(bytes) => self.string = Some(Source::Content(bytes)),
            Setting::Parts(tokens) => self.parts = Some(Source::Parts(tokens)),
        }
        Ok(())
    }

    fn add_param(&mut self, name: &str, value: String) -> Result<(), RecipeError> {
        let lower = name.to_lowercase();
        if self.params.iter().any(|(known, _)| *known == lower) {
            return Err(RecipeError::RepeatedParam(name.to_owned()));
        }
        self.params.push((lower, value));
        Ok(())
    }

    fn set_encoding(&mut self, encoding: &str) -> Result<(), RecipeError> {
        let lower = encoding.to_lowercase();
        match lower.as_str() {
            "7bit" | "8bit" | "binary" | "quoted-printable" | "base64" => self.encoding = lower,
            _ => return Err(RecipeError::UnknownEncoding(encoding.to_owned())),
        }
        Ok(())
    }

    fn add_field(&mut self, name: String, value: String) -> Result<(), RecipeError> {
        let pair = || format!("{name} {value}");
        match name.to_ascii_lowercase().as_str() {
            "content-type" => return Err(RecipeError::FieldHasOption("-canonical", pair())),
            "content-transfer-encoding" => {
                return Err(RecipeError::FieldHasOption("-encoding", pair()))
            }
            "content-md5" | "mime-version" => return Err(RecipeError::ReservedField),
            _ => self.fields.push((name, value)),
        }
        Ok(())
    }

    /// The one source, when every option fits the others.
    pub(super) fn source(&mut self) -> Result<Source, RecipeError> {
        let given = [self.file.take(), self.parts.take(), self.string.take()];
        let mut given = given.into_iter().flatten();
        let (Some(source), None) = (given.next(), given.next()) else {
            return Err(RecipeError::NotOneSource);
        };
        match &self.content {
            Some(content) => self.check_built(content, &source)?,
            None => self.check_parsed(&source)?,
        }
        Ok(source)
    }

    fn check_built(&self, content: &str, source: &Source) -> Result<(), RecipeError> {
        if !matches!(source, Source::Parts(_)) {
            return Ok(());
        }
        match content.split_once('/') {
            Some(("text" | "image" | "audio" | "video", _)) => {
                Err(RecipeError::TypeHasNoParts(content.to_owned()))
            }
            _ if !self.encoding.is_empty() => Err(RecipeError::PartsAreNotEncoded),
            _ => Ok(()),
        }
    }

    fn check_parsed(&self, source: &Source) -> Result<(), RecipeError> {
        let refused = [
            ("-param", !self.params.is_empty()),
            ("-encoding", !self.encoding.is_empty()),
            ("-header", !self.fields.is_empty()),
            ("-parts", matches!(source, Source::Parts(_))),
        ];
        match refused.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(RecipeError::RequiresCanonical(option)),
            None => Ok(()),
        }
    }

    pub(super) fn take_fields(&mut self) -> Fields {
        Fields::collect(std::mem::take(&mut self.fields))
    }
}
