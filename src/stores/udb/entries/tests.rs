use super::*;
use crate::store::Users;
use crate::stores::password::tests::COMPUTED;
use crate::stores::password::Scheme;
use crate::stores::udb::UserDb;

/// "password", quickly checked.
const ARGON2: &str =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
/// "correctbatteryhorsestapler", quickly checked.
const BCRYPT: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

fn password(text: &[u8]) -> Proof {
    Proof::Password(Secret::new(text))
}

/// What a login gives, and how many digests were computed for it: at once, or later.
fn login(db: &UserDb, user: &str, proof: &Proof) -> (Option<Box<str>>, usize) {
    let before = COMPUTED.get();
    let verdict = db.verify(user.as_bytes(), proof);
    assert_eq!(COMPUTED.get(), before, "not on the event loop");
    let storage = match verdict {
        Verdict::Admitted(storage) => Some(storage),
        Verdict::Refused => None,
        Verdict::Pending(check) => check(),
    };
    (storage, COMPUTED.get() - before)
}

fn db(hashes: &[(&str, &str)]) -> UserDb {
    let db = UserDb::new();
    for (user, hash) in hashes {
        db.add_hash(user, hash, "box").unwrap();
    }
    db
}

/// RFC 3206, 1939: nobody must learn which names are known. The check of a wrong password
/// takes as many digests as that of an unknown name; a database in the clear takes none.
#[test]
fn an_unknown_name_costs_what_a_wrong_password_does() {
    let hashed = db(&[("ann", ARGON2)]);
    let mixed = db(&[("ann", ARGON2)]);
    mixed.add("bob", "secret", "box").unwrap();
    let clear = UserDb::new();
    clear.add("bob", "secret", "box").unwrap();
    let apop = Proof::Apop {
        challenge: "<1@h>".into(),
        digest: Secret::new(&b"0123456789abcdef0123456789abcdef"[..]),
    };
    let (right, wrong) = (password(b"password"), password(b"wrong"));
    let latin_1 = password(b"wr\xf6ng");
    let utf_8 = password("wr\u{f6}ng".as_bytes());
    let long = password(&[b'x'; PASSWORD_BYTES + 1]);
    let table = [
        (&hashed, "ann", &wrong, None, 1),
        (&hashed, "nobody", &wrong, None, 1),
        (&hashed, "nobody", &right, None, 1),
        (&hashed, "ann", &utf_8, None, 2),
        (&hashed, "nobody", &utf_8, None, 2),
        (&hashed, "ann", &latin_1, None, 2),
        (&hashed, "nobody", &latin_1, None, 2),
        (&hashed, "ann", &long, None, 0),
        (&hashed, "nobody", &long, None, 0),
        (&hashed, "ann", &apop, None, 0),
        (&hashed, "nobody", &apop, None, 0),
        (&hashed, "ann", &right, Some("box"), 1),
        (&mixed, "bob", &wrong, None, 1),
        (&mixed, "nobody", &wrong, None, 1),
        (&mixed, "bob", &password(b"secret"), Some("box"), 0),
        (&clear, "bob", &wrong, None, 0),
        (&clear, "nobody", &wrong, None, 0),
        // What is compared with the proof of an unknown name admits nobody.
        (&clear, "nobody", &password(b"of nobody"), None, 0),
    ];
    for (db, user, proof, storage, computed) in table {
        let want = (storage.map(Box::from), computed);
        assert_eq!(login(db, user, proof), want, "{user} {proof:?}");
    }
}

#[test]
fn a_good_login_is_not_paid_twice_until_the_entry_changes() {
    let db = db(&[("ann", ARGON2), ("bea", ARGON2)]);
    let right = password(b"password");
    let storage = || Some(Box::from("box"));
    assert_eq!(login(&db, "ann", &right), (storage(), 1));
    assert_eq!(login(&db, "ann", &right), (storage(), 0));
    // Neither for another user, nor for another password, which changes nothing.
    assert_eq!(login(&db, "bea", &right), (storage(), 1));
    assert_eq!(login(&db, "ann", &password(b"wrong")), (None, 1));
    assert_eq!(login(&db, "ann", &right), (storage(), 0));
    // Two that wait at once: the second finds what the first has paid.
    db.add_hash("ann", ARGON2, "box").unwrap();
    let waiting = [db.verify(b"ann", &right), db.verify(b"ann", &right)];
    let before = COMPUTED.get();
    for verdict in waiting {
        let Verdict::Pending(check) = verdict else {
            panic!("known before it was paid");
        };
        assert_eq!(check(), storage());
    }
    assert_eq!(COMPUTED.get(), before + 1);
    db.add_hash("ann", BCRYPT, "box").unwrap();
    assert_eq!(login(&db, "ann", &right), (None, 1));
    db.remove("ann").unwrap();
    assert_eq!(login(&db, "ann", &right).0, None);
}

#[test]
fn a_good_login_is_forgotten_after_a_minute() {
    let hashed = Hashed {
        hash: Hash::parse(ARGON2).unwrap(),
        proven: Mutex::default(),
    };
    assert!(hashed.is_proved_by(b"password"));
    assert!(hashed.is_proven(b"password"));
    let age = |by| {
        let mut proven = hashed.proven.lock().unwrap();
        proven.as_mut().unwrap().at -= by;
    };
    age(RECENT / 2);
    assert!(hashed.is_proven(b"password"));
    age(RECENT / 2);
    assert!(!hashed.is_proven(b"password"));
    assert!(hashed.proven.lock().unwrap().is_none());
}

/// A password fits its hash as characters, or as the bytes that Tcl reads.
#[test]
fn passwords_are_text_and_bytes() {
    let hash = Hash::new("p\u{e4}ss".as_bytes(), Scheme::Sha512Crypt).unwrap();
    let db = db(&[("m\u{fc}ll", hash.text())]);
    let rows: [(&[u8], bool); 4] = [
        (b"p\xc3\xa4ss", true),
        (b"p\xe4ss", true),
        (b"p\xc3\x83\xc2\xa4ss", false),
        (b"pass", false),
    ];
    for (bytes, want) in rows {
        let admitted = login(&db, "m\u{fc}ll", &password(bytes)).0.is_some();
        assert_eq!(admitted, want, "{bytes:x?}");
    }
    let Verdict::Pending(check) = db.verify(b"m\xfcll", &password(b"p\xc3\xa4ss")) else {
        panic!("not hashed");
    };
    assert!(check().is_some());
}

/// A name keeps its recipe; of many names as many have each as of the users.
#[test]
fn unknown_names_are_like_the_users() {
    let db = db(&[("a", ARGON2), ("b", ARGON2), ("c", ARGON2), ("d", BCRYPT)]);
    db.add("e", "secret", "box").unwrap();
    let entries = db.read();
    let like = |name: &str| entries.like_others(name.as_bytes(), |recipe| recipe.is_some());
    let bcrypt = entries.get("d").unwrap().credential.recipe();
    let all = 2000;
    let names = || (0..all).map(|n| format!("nobody{n}"));
    let count = names().filter(|name| like(name) == Some(bcrypt)).count();
    assert!((all / 8..all / 2).contains(&count), "{count}");
    assert!(names().all(|name| like(&name) == like(&name)));
    drop(entries);
    // What is left has no hash any more.
    for user in ["a", "b", "c", "d"] {
        db.remove(user).unwrap();
    }
    assert_eq!(login(&db, "nobody", &password(b"x")), (None, 0));
    let other = UserDb::new();
    other.add_hash("z", ARGON2, "box").unwrap();
    db.replace_all(other);
    db.rename("z", "y").unwrap();
    assert_eq!(login(&db, "z", &password(b"x")), (None, 1));
}

/// A verifier as it was stored; keys of a password in the clear; made-up ones for all
/// others, which nothing tells from those.
#[test]
fn scram_keys_of_every_name() {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let verifier = format!("SCRAM-SHA-256$5000:c2FsdHNhbHQ=${key}:{key}");
    let keys = |db: &UserDb, user: &str| db.scram(user.as_bytes());
    let hashed = db(&[("ann", ARGON2)]);
    assert!(!hashed.all_have_scram());
    assert!(UserDb::new().all_have_scram());
    // As if its password were in the clear.
    assert_eq!(keys(&hashed, "ann").iterations, 4096);

    hashed.add_hash("sue", &verifier, "box").unwrap();
    let sue = keys(&hashed, "sue");
    assert_eq!((&*sue.salt, sue.iterations), (&b"saltsalt"[..], 5000));
    assert_eq!((sue.stored_key, sue.server_key), ([0; 32], [0; 32]));
    for user in ["ann", "nobody"] {
        let made_up = keys(&hashed, user);
        assert_eq!((made_up.salt.len(), made_up.iterations), (8, 5000));
        assert_ne!(made_up.salt, keys(&hashed, "other").salt);
        let again = keys(&hashed, user);
        assert_eq!(
            (made_up.salt, made_up.stored_key),
            (again.salt, again.stored_key)
        );
    }

    let clear = UserDb::new();
    clear.add("bob", "pencil", "box").unwrap();
    let bob = keys(&clear, "bob");
    assert_eq!(scram::keys(b"pencil", &bob.salt, bob.iterations), bob);
    let nobody = keys(&clear, "nobody");
    assert_eq!(
        (nobody.salt.len(), nobody.iterations),
        (bob.salt.len(), bob.iterations)
    );
}
