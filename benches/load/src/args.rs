//! `--key value` command lines, no more than these programs need.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// The options of one command line.
#[derive(Debug, Default)]
pub struct Args(BTreeMap<String, String>);

impl Args {
    /// Parses `--key value …`; `--key` before another option or at the end is a flag.
    ///
    /// # Errors
    /// A word without `--`, or an option that is not in `known`.
    pub fn parse(words: impl Iterator<Item = String>, known: &[&str]) -> Result<Self, String> {
        let mut options = BTreeMap::new();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let key = word
                .strip_prefix("--")
                .ok_or_else(|| format!("unexpected word {word:?}"))?;
            if !known.contains(&key) {
                return Err(format!(
                    "unknown option --{key}; known: --{}",
                    known.join(" --")
                ));
            }
            let value = words
                .next_if(|next| !next.starts_with("--"))
                .unwrap_or_default();
            options.insert(key.to_owned(), value);
        }
        Ok(Self(options))
    }

    /// Whether the option was given at all.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The option's text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The option as a value, or `default` if it was not given.
    ///
    /// # Errors
    /// A text that is no such value.
    pub fn value<T: FromStr>(&self, key: &str, default: T) -> Result<T, String>
    where
        T::Err: Display,
    {
        match self.0.get(key) {
            Some(text) => text
                .parse()
                .map_err(|error| format!("--{key} {text:?}: {error}")),
            None => Ok(default),
        }
    }
}
