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

/// From this many names on they are looked up in an index: real headers have
/// fewer, and a hostile one with 100,000 must not cost a script its square.
const INDEXED: usize = 64;

/// Names in the order of their first appearance, each with its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    list: Vec<Field>,
    /// The place of each name, in lower case, of a long list; else empty.
    places: HashMap<String, usize>,
}

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
        if list.len() < INDEXED {
            places = HashMap::new();
        }
        Fields { list, places }
    }

    /// The names as they were first written.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|field| field.name.as_str())
    }

    /// Every name with each of its values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().flat_map(|field| {
            let values = field.values.iter();
            values.map(|value| (field.name.as_str(), value.as_str()))
        })
    }

    /// The values of a name, in any case of letters.
    pub(super) fn get(&self, name: &str) -> Option<&[String]> {
        Some(&self.list[self.place(name)?].values)
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
        if let Some(place) = self.place(name) {
            self.list.remove(place);
            self.places.remove(&name.to_ascii_lowercase());
            for later in self.places.values_mut().filter(|later| **later > place) {
                *later -= 1;
            }
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        if self.places.is_empty() {
            return self.list.iter().position(|field| field.is(name));
        }
        self.places.get(&name.to_ascii_lowercase()).copied()
    }

    fn entry(&mut self, name: &str) -> &mut Field {
        let place = self.place(name).unwrap_or_else(|| {
            let place = self.list.len();
            if !self.places.is_empty() {
                self.places.insert(name.to_ascii_lowercase(), place);
            }
            self.list.push(Field {
                name: name.to_owned(),
                values: Vec::new(),
            });
            place
        });
        &mut self.list[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same with and without an index.
    #[test]
    fn names_keep_their_places() {
        for more in [0, 2 * INDEXED] {
            let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let given = [
                pair("A", "1"),
                pair("B", "2"),
                pair("a", "3"),
                pair("C", "4"),
            ];
            let more: Vec<_> = (0..more).map(|n| pair(&format!("X-{n}"), "x")).collect();
            let mut fields = Fields::collect(given.into_iter().chain(more));
            assert_eq!(fields.places.is_empty(), fields.list.len() < INDEXED);
            fields.delete("b");
            fields.delete("b");
            fields.append("c", "5");
            fields.append("New", "6");
            fields.write("NEW", "7");
            let pairs: Vec<_> = fields.pairs().filter(|(_, value)| *value != "x").collect();
            let want = [("A", "1"), ("A", "3"), ("C", "4"), ("C", "5"), ("New", "7")];
            assert_eq!(pairs, want);
            assert_eq!(fields.get("new"), Some(&["7".to_owned()][..]));
            assert_eq!(fields.get("b"), None);
        }
    }
}
