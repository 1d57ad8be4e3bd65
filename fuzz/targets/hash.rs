//! Texts of password hashes: what is read is kept as it was, and is bounded.

use pop3d::stores::password::Hash;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Hash::parse(&text) {
        Ok(hash) => {
            assert_eq!(hash.text(), text);
            assert!(text.len() <= 512);
            let again = Hash::parse(hash.text()).unwrap();
            assert_eq!(again.recipe(), hash.recipe());
            let _ = Hash::decoy(hash.recipe());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
