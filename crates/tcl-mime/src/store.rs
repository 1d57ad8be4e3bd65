//! All parts of an interpreter, by token, and what scripts ask of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::build::{self, Eol};
use super::codec;
use super::error::{FieldError, FinalizeError, RecipeError, UnknownToken};
use super::ids::Ids;
use super::part::{Body, Origin, Part, Slice, Token};
use super::recipe::{Recipe, Source};
use super::split::{self, Kind, Outline, MAX_PARTS};

/// How often a message may lie encoded in an encoded message: each level
/// is decoded into a copy. RFC 2046 §5.2.1 allows none.
const MAX_ENCODED: usize = 3;

/// The parts of one interpreter. Tokens are never given out twice.
#[derive(Debug)]
pub struct Store {
    parts: HashMap<Token, Part>,
    last: u64,
    ids: Ids,
}

impl Default for Store {
    fn default() -> Store {
        Store::new()
    }
}

/// Which parts `finalize` takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subordinates {
    All,
    Dynamic,
    None,
}

impl Store {
    /// No part yet.
    pub fn new() -> Store {
        Store {
            parts: HashMap::new(),
            last: 0,
            ids: Ids::new(),
        }
    }

    /// Whether a part has this token.
    pub fn exists(&self, token: &str) -> bool {
        self.parts.contains_key(token)
    }

    /// How many parts there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there is no part.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Makes a part, and those within it; all their tokens, the part's first.
    /// `read` gives the bytes of the file of `-file`, or its error's text.
    pub fn initialize(
        &mut self,
        mut recipe: Recipe,
        read: impl FnOnce(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Vec<Token>, RecipeError> {
        let source = recipe.source()?;
        let body = match source {
            Source::Content(bytes) => Ok(bytes),
            Source::File(name) => Ok(read(&name).map_err(RecipeError::File)?),
            Source::Parts(tokens) => Err(tokens),
        };
        if let Err(tokens) = &body {
            for token in tokens {
                self.part(token)?;
            }
        }
        self.last += 1;
        let token: Token = format!("::mime::{}", self.last).into();
        match (recipe.content.take(), body) {
            (Some(content), body) => {
                let body = match body {
                    Ok(bytes) => Body::Leaf(whole(bytes.into())),
                    Err(tokens) => Body::Parts(tokens),
                };
                let part = self.built(content, recipe, body);
                self.parts.insert(token.clone(), part);
                Ok(vec![token])
            }
            (None, Ok(bytes)) => Ok(self.parse(token, bytes.into())),
            // `Recipe::source` lets parts come only with a type.
            (None, Err(_)) => Err(RecipeError::RequiresCanonical("-parts")),
        }
    }

    fn built(&mut self, content: String, mut recipe: Recipe, body: Body) -> Part {
        let mut fields = recipe.take_fields();
        if fields.get("content-id").is_none() {
            fields.append("Content-ID", &self.ids.content_id());
        }
        let parted = matches!(body, Body::Parts(_)) && !content.starts_with("message/");
        let named = recipe.params.iter().any(|(name, _)| name == "boundary");
        let boundary = (parted && !named).then(|| self.ids.boundary());
        Part {
            content,
            params: recipe.params,
            encoding: recipe.encoding,
            version: "1.0".into(),
            fields,
            body,
            origin: Origin::Built { boundary },
        }
    }

    /// Parses a message, and the encoded messages in it, each when its turn comes.
    fn parse(&mut self, token: Token, data: Arc<[u8]>) -> Vec<Token> {
        let mut made: Vec<Token> = Vec::new();
        let mut waiting = vec![(token, data, 0, 0)];
        while let Some((token, data, depth, encoded)) = waiting.pop() {
            let room = MAX_PARTS.saturating_sub(made.len()).max(1);
            let outlines = split::split(&data, depth, room);
            let tokens = name_parts(&token, &outlines);
            let mut children = children(&outlines, &tokens);
            for (place, outline) in outlines.iter().enumerate() {
                let known = made.len() + tokens.len() + waiting.len();
                if outline.kind == Kind::EncodedMessage
                    && encoded < MAX_ENCODED
                    && known < MAX_PARTS
                {
                    let body = codec::decode(&outline.head.encoding, &data[outline.body.clone()]);
                    let child: Token = format!("{}-1", tokens[place]).into();
                    let depth = child.matches('-').count();
                    children[place].push(child.clone());
                    waiting.push((child, body.into(), depth, encoded + 1));
                }
            }
            for ((outline, token), parts) in outlines.into_iter().zip(&tokens).zip(children) {
                self.parts
                    .insert(token.clone(), parsed(&data, outline, parts));
            }
            made.extend(tokens);
        }
        made
    }

    /// Forgets a part and, by the value of `-subordinates`, those in it.
    /// The tokens that are no more.
    pub fn finalize(
        &mut self,
        token: &str,
        subordinates: &str,
    ) -> Result<Vec<Token>, FinalizeError> {
        let subordinates = match subordinates {
            "all" => Subordinates::All,
            "dynamic" => Subordinates::Dynamic,
            "none" => Subordinates::None,
            other => return Err(FinalizeError::UnknownSubordinates(other.to_owned())),
        };
        self.part(token)?;
        let mut gone = Vec::new();
        let mut waiting: Vec<Token> = vec![token.into()];
        while let Some(token) = waiting.pop() {
            // One within may have been finalized before.
            let Some(part) = self.parts.remove(&token) else {
                continue;
            };
            match (subordinates, part.body) {
                (Subordinates::None, _) | (_, Body::Leaf(_)) => {}
                (Subordinates::All, Body::Parts(parts)) => waiting.extend(parts),
                (Subordinates::Dynamic, Body::Parts(parts)) => {
                    if matches!(part.origin, Origin::Parsed { .. }) {
                        waiting.extend(parts);
                    }
                }
            }
            gone.push(token);
        }
        Ok(gone)
    }

    pub(super) fn part(&self, token: &str) -> Result<&Part, UnknownToken> {
        self.parts
            .get(token)
            .ok_or_else(|| UnknownToken(token.to_owned()))
    }

    /// `setheader TOKEN KEY VALUE -mode MODE`: the values that were there before.
    pub fn set_field(
        &mut self,
        token: &str,
        key: &str,
        value: &str,
        mode: &str,
    ) -> Result<Vec<String>, FieldError> {
        if !matches!(mode, "write" | "append" | "delete") {
            self.part(token)?;
            return Err(FieldError::UnknownMode(mode.to_owned()));
        }
        let before = self.part(token)?.fields.get(key).map(<[String]>::to_vec);
        if mode == "delete" && before.is_none() {
            return Err(FieldError::Missing(key.to_owned()));
        }
        let lower = key.to_ascii_lowercase();
        let describes = [
            "content-type",
            "content-transfer-encoding",
            "mime-version",
            "content-md5",
        ];
        if describes.contains(&lower.as_str()) {
            // Setting what is there already is allowed, and does nothing.
            return match self.field(token, key)?.iter().any(|known| known == value) {
                true => Ok(Vec::new()),
                false => Err(FieldError::ReadOnly(key.to_owned())),
            };
        }
        if let Some(part) = self.parts.get_mut(token) {
            match mode {
                "write" => part.fields.write(key, value),
                "append" => part.fields.append(key, value),
                _ => part.fields.delete(key),
            }
            if let Origin::Parsed { rewritten, .. } = &mut part.origin {
                *rewritten = true;
            }
        }
        self.touch(token);
        Ok(before.unwrap_or_default())
    }

    /// Marks a part and those it lies in as no longer what was parsed.
    fn touch(&mut self, token: &str) {
        let mut token = Some(token);
        while let Some(name) = token {
            if let Some(Origin::Parsed { touched, .. }) =
                self.parts.get_mut(name).map(|part| &mut part.origin)
            {
                *touched = true;
            }
            token = name.rsplit_once('-').map(|(parent, _)| parent);
        }
    }

    /// The message's own bytes, shared, while nothing in it was changed;
    /// `None`: it must be built.
    pub fn untouched(&self, token: &str) -> Result<Option<Slice>, UnknownToken> {
        Ok(match &self.part(token)?.origin {
            Origin::Parsed {
                whole,
                touched: false,
                ..
            } => Some(whole.clone()),
            _ => None,
        })
    }

    /// `buildmessage` (CRLF) and `copymessage` (LF, which the channel translates):
    /// the message's own bytes while nothing in it was changed, else MIME.
    pub fn build(&self, token: &str, eol: Eol) -> Result<Vec<u8>, UnknownToken> {
        match self.untouched(token)? {
            Some(bytes) => Ok(bytes.to_vec()),
            None => build::build(self, token, eol),
        }
    }

    /// `uniqueID`: a new Content-ID.
    pub fn unique_id(&mut self) -> String {
        self.ids.content_id()
    }
}

fn whole(data: Arc<[u8]>) -> Slice {
    let range = 0..data.len();
    Slice::new(data, range)
}

/// The token of each part: the first has `token`, others count in their parent.
fn name_parts(token: &Token, outlines: &[Outline]) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::with_capacity(outlines.len());
    let mut counts = vec![0; outlines.len()];
    for outline in outlines {
        tokens.push(match outline.parent {
            None => token.clone(),
            Some(parent) => {
                counts[parent] += 1;
                format!("{}-{}", tokens[parent], counts[parent]).into()
            }
        });
    }
    tokens
}

/// The tokens of the parts in each part.
fn children(outlines: &[Outline], tokens: &[Token]) -> Vec<Vec<Token>> {
    let mut children = vec![Vec::new(); outlines.len()];
    for (outline, token) in outlines.iter().zip(tokens) {
        if let Some(parent) = outline.parent {
            children[parent].push(token.clone());
        }
    }
    children
}

fn parsed(data: &Arc<[u8]>, outline: Outline, parts: Vec<Token>) -> Part {
    let head = outline.head;
    Part {
        content: head.content,
        params: head.params,
        encoding: head.encoding,
        version: head.version,
        fields: head.fields,
        body: match parts.is_empty() {
            true => Body::Leaf(Slice::new(data.clone(), outline.body.clone())),
            false => Body::Parts(parts),
        },
        origin: Origin::Parsed {
            whole: Slice::new(data.clone(), outline.whole),
            body: outline.body,
            rewritten: false,
            touched: false,
        },
    }
}
