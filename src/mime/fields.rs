//! The header fields of one part, without those that describe its content.

use std::collections::HashMap;

/// All values of one name, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    /// As it was first written.
    name: String,
    values: Vec<String>,
}

impl Field {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Names in the order of their first appearance, each with its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<Field>);

impl Fields {
    /// Groups fields by name; linear, as a hostile header has many.
    pub(super) fn collect(fields: impl IntoIterator<Item = (String, String)>) -> Fields {
        let mut list: Vec<Field> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (name, value) in fields {
            let place = *places
                .entry(name.to_ascii_lowercase())
                .or_insert(list.len());
            match list.get_mut(place) {
                Some(field) => field.values.push(value),
                None => list.push(Field {
                    name,
                    values: vec![value],
                }),
            }
        }
        Fields(list)
    }

    /// The names as they were first written.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|field| field.name.as_str())
    }

    /// Every name with each of its values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|field| {
            let values = field.values.iter();
            values.map(|value| (field.name.as_str(), value.as_str()))
        })
    }

    /// The values of a name, in any case of letters.
    pub(super) fn get(&self, name: &str) -> Option<&[String]> {
        let field = self.0.iter().find(|field| field.is(name))?;
        Some(&field.values)
    }

    /// Replaces the values of a name by one; the name keeps its place and spelling.
    pub(super) fn write(&mut self, name: &str, value: &str) {
        self.entry(name).values = vec![value.to_owned()];
    }

    /// Adds a value to a name.
    pub(super) fn append(&mut self, name: &str, value: &str) {
        self.entry(name).values.push(value.to_owned());
    }

    /// Removes a name with its values.
    pub(super) fn delete(&mut self, name: &str) {
        self.0.retain(|field| !field.is(name));
    }

    fn entry(&mut self, name: &str) -> &mut Field {
        let found = self.0.iter().position(|field| field.is(name));
        let place = found.unwrap_or_else(|| {
            self.0.push(Field {
                name: name.to_owned(),
                values: Vec::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }
}
