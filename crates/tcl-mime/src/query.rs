//! What scripts read of a part: properties, header fields, the body.

use super::charset;
use super::codec;
use super::error::{BodyError, FieldError, PropertyError, UnknownToken};
use super::part::{Body, Origin, Token};
use super::store::Store;

/// A value that `getproperty` gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// `content` and `encoding`.
    Text(String),
    /// `params`, in their order.
    Params(Vec<(String, String)>),
    /// `parts`.
    Parts(Vec<Token>),
    /// `size`: the octets of the content, for base64 as they will be decoded.
    Size(usize),
}

impl Store {
    /// `getproperty TOKEN -names`.
    pub fn property_names(&self, token: &str) -> Result<Vec<&'static str>, UnknownToken> {
        let mut names = vec!["content", "encoding", "params"];
        if matches!(self.part(token)?.body, Body::Parts(_)) {
            names.push("parts");
        }
        Ok(names)
    }

    /// `getproperty TOKEN`: every property with its name.
    pub fn properties(&self, token: &str) -> Result<Vec<(&'static str, Property)>, UnknownToken> {
        let part = self.part(token)?;
        let mut all = vec![
            ("content", Property::Text(part.content.clone())),
            ("encoding", Property::Text(part.encoding.clone())),
            ("params", Property::Params(part.params.clone())),
            ("size", Property::Size(self.size(token)?)),
        ];
        if let Body::Parts(parts) = &part.body {
            all.push(("parts", Property::Parts(parts.clone())));
        }
        Ok(all)
    }

    /// `getproperty TOKEN NAME`.
    pub fn property(&self, token: &str, name: &str) -> Result<Property, PropertyError> {
        let part = self.part(token)?;
        Ok(match name {
            "content" => Property::Text(part.content.clone()),
            "encoding" => Property::Text(part.encoding.clone()),
            "params" => Property::Params(part.params.clone()),
            "size" => Property::Size(self.size(token)?),
            "parts" => match &part.body {
                Body::Parts(parts) => Property::Parts(parts.clone()),
                Body::Leaf(_) => return Err(PropertyError::Leaf),
            },
            _ => return Err(PropertyError::Unknown(name.to_owned())),
        })
    }

    /// The content's octets: of a composite part, those of its leaves.
    fn size(&self, token: &str) -> Result<usize, UnknownToken> {
        let mut size = 0;
        let mut waiting = vec![token];
        while let Some(token) = waiting.pop() {
            let part = self.part(token)?;
            match (&part.body, &part.origin) {
                (Body::Parts(parts), _) => waiting.extend(parts.iter().map(|token| &**token)),
                (Body::Leaf(body), Origin::Parsed { .. }) if part.encoding == "base64" => {
                    size += (body.len() * 3 + 2) / 4;
                }
                (Body::Leaf(body), _) => size += body.len(),
            }
        }
        Ok(size)
    }

    /// `getheader TOKEN -names`: as written, without those that describe the content.
    pub fn field_names(&self, token: &str) -> Result<Vec<String>, UnknownToken> {
        Ok(self
            .part(token)?
            .fields
            .names()
            .map(str::to_owned)
            .collect())
    }

    /// `getheader TOKEN`: every field as it would be built, name and value in turn.
    pub fn header(&self, token: &str) -> Result<Vec<(String, String)>, UnknownToken> {
        Ok(self.part(token)?.header())
    }

    /// `getheader TOKEN KEY`: the values of a field.
    pub fn field(&self, token: &str, key: &str) -> Result<Vec<String>, FieldError> {
        let part = self.part(token)?;
        Ok(match key.to_ascii_lowercase().as_str() {
            "content-transfer-encoding" => match part.transfer_encoding() {
                "" => Vec::new(),
                encoding => vec![encoding.to_owned()],
            },
            "content-type" => vec![part.content_type()],
            "mime-version" => vec![part.version.clone()],
            _ => match part.fields.get(key) {
                Some(values) => values.to_vec(),
                None => return Err(FieldError::Missing(key.to_owned())),
            },
        })
    }

    /// `getbody TOKEN`: the content of a leaf, its transfer encoding undone.
    pub fn body(&self, token: &str) -> Result<Vec<u8>, BodyError> {
        let part = self.part(token)?;
        match (&part.body, &part.origin) {
            (Body::Parts(_), _) => Err(BodyError::NotALeaf),
            (Body::Leaf(body), Origin::Parsed { .. }) => {
                Ok(codec::decode(&part.encoding, body).into_owned())
            }
            (Body::Leaf(body), Origin::Built { .. }) => Ok(body.to_vec()),
        }
    }

    /// `getbody TOKEN -decode`: the characters that the content stands for.
    pub fn decoded_body(&self, token: &str) -> Result<String, BodyError> {
        let body = self.body(token)?;
        let params = &self.part(token)?.params;
        let charset = params.iter().find(|(name, _)| name == "charset");
        let charset = charset.map_or("US-ASCII", |(_, charset)| charset);
        charset::decode(charset, &body).ok_or_else(|| BodyError::UnknownCharset(charset.to_owned()))
    }
}
