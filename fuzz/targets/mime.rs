//! The fallback `mime` package: nothing is refused, and what goes in comes out.

use tcl_mime::{Eol, Property, Recipe, Setting, Store};

pub fn run(data: &[u8]) {
    let mut store = Store::new();
    let mut recipe = Recipe::new();
    recipe.add(Setting::Content(data.to_vec())).unwrap();
    let tokens = store.initialize(recipe, |_| Err("no file".into())).unwrap();
    assert_eq!(store.build(&tokens[0], Eol::CrLf).unwrap(), data);
    for token in &tokens {
        store.properties(token).unwrap();
        store.header(token).unwrap();
        for name in store.field_names(token).unwrap() {
            assert!(!store.field(token, &name).unwrap().is_empty());
        }
        let leaf = !matches!(store.property(token, "parts"), Ok(Property::Parts(_)));
        assert_eq!(store.body(token).is_ok(), leaf);
        let _ = store.decoded_body(token);
    }
    for token in &tokens {
        store.set_field(token, "X-Test", "1", "append").unwrap();
    }
    store.build(&tokens[0], Eol::Lf).unwrap();
    store.finalize(&tokens[0], "dynamic").unwrap();
    assert!(store.is_empty());
}
