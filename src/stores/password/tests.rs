use std::cell::Cell;

use data_encoding::{BASE64_NOPAD, HEXLOWER};

use super::*;
use crate::store::scram;

thread_local! {
    /// How many digests this thread has computed.
    pub(crate) static COMPUTED: Cell<usize> = const { Cell::new(0) };
}

/// Password, its hash.
const KNOWN: &[(&str, &str)] = &[
    // The test vectors of Argon2's reference implementation (test.c).
    ("password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
    ("password", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"),
    ("password", "$argon2i$v=16$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY"),
    ("password", "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY"),
    // jBCrypt's, crypt_blowfish's and pyca/bcrypt's.
    ("", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."),
    ("a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"),
    ("U*U", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ("correctbatteryhorsestapler", "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie"),
    // SHA-crypt.txt, "Test vectors".
    ("Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"),
    ("Hello world!", "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."),
    ("a very much longer text to encrypt.  This one even stretches over morethan one line.", "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1"),
    ("the minimum number is still observed", "$6$rounds=1000$roundstoolow$kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX."),
    ("foo", "$6$$QMXjqd7rHQZPQ1yHsXkQqC1FBzDiVfTHXL.LaeDAeVV.IzMaV9VU4MQ8kPuZa2SOP1A0RPm772EaFYjpEJtdu."),
];

#[test]
fn known_hashes_fit_their_passwords_only() {
    for (password, text) in KNOWN {
        let hash = Hash::parse(text).unwrap();
        assert_eq!(hash.text(), *text);
        assert!(hash.fits(password.as_bytes()), "{text}");
        assert!(!hash.fits(format!("{password}x").as_bytes()), "{text}");
    }
    // pyca/bcrypt: only 72 bytes count.
    let long = Hash::parse("$2a$05$......................YgIDy4hFBdVlc/6LHnD9mX488r9cLd2").unwrap();
    assert!(long.fits(&[b'x'; 100]));
    assert!(!long.fits(&[b'x'; 71]));
}

/// RFC 7914 §12.
#[test]
fn scrypt_of_the_rfc() {
    let digest = "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162\
                  2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640";
    let digest = BASE64_NOPAD.encode(&HEXLOWER.decode(digest.as_bytes()).unwrap());
    let salt = BASE64_NOPAD.encode(b"NaCl");
    let hash = Hash::parse(&format!("$scrypt$ln=10,r=8,p=16${salt}${digest}")).unwrap();
    assert!(hash.fits(b"password"));
    assert!(!hash.fits(b"passwort"));
}

/// The password of RFC 7677 §3, whose exchange `pop3-proto` plays.
#[test]
fn scram_of_the_rfc() {
    let salt = "W22ZaJ0SNY7soEsUEjb6gQ==";
    let decoded = data_encoding::BASE64.decode(salt.as_bytes()).unwrap();
    let keys = scram::keys(b"pencil", &decoded, 4096);
    let [stored, server] =
        [keys.stored_key, keys.server_key].map(|key| data_encoding::BASE64.encode(&key));
    let hash = Hash::parse(&format!("SCRAM-SHA-256$4096:{salt}${stored}:{server}")).unwrap();
    assert!(hash.fits(b"pencil"));
    assert!(!hash.fits(b"pencils"));
    let verifier = hash.scram().unwrap();
    assert_eq!((verifier.iterations, verifier.salt.len()), (4096, 16));
    assert_eq!(
        (*verifier.stored_key, *verifier.server_key),
        (keys.stored_key, keys.server_key)
    );
}

/// RFC 4013 §3: SASLprep.
#[test]
fn scram_prepares_passwords() {
    let keys = |password: &str| scram::keys(password.as_bytes(), b"salt", 1);
    assert_eq!(keys("I\u{ad}X"), keys("IX"));
    assert_eq!(keys("\u{2168}"), keys("IX"));
    assert_ne!(keys("user"), keys("USER"));
    // Forbidden there, and taken as it is.
    assert_ne!(keys("\u{7}"), keys(""));
}

#[test]
fn new_hashes_can_be_read_and_fit() {
    let table = [
        ("argon2id", "$argon2id$v=19$m=19456,t=2,p=1$", 22 + 1 + 43),
        ("bcrypt", "$2b$10$", 53),
        ("scrypt", "$scrypt$ln=14,r=8,p=5$", 22 + 1 + 43),
        ("sha512-crypt", "$6$rounds=100000$", 16 + 1 + 86),
        (
            "scram-sha-256",
            "SCRAM-SHA-256$100000:",
            24 + 1 + 44 + 1 + 44,
        ),
    ];
    for (scheme, begin, length) in table {
        let scheme = Scheme::named(scheme).unwrap();
        let hash = Hash::new(b"secret", scheme).unwrap();
        let rest = hash
            .text()
            .strip_prefix(begin)
            .unwrap_or_else(|| panic!("{}", hash.text()));
        assert_eq!(rest.len(), length, "{}", hash.text());
        let read = Hash::parse(hash.text()).unwrap();
        assert_eq!(read.recipe(), scheme.recipe());
        assert!(read.fits(b"secret"), "{}", hash.text());
        assert!(!Hash::decoy(read.recipe()).fits(b"secret"));
        assert_ne!(Hash::new(b"secret", scheme).unwrap().text(), hash.text());
    }
    assert_eq!(Scheme::named("md5").err(), Some(HashError::Scheme));
}

#[test]
fn long_passwords_are_refused_or_fit_nothing() {
    let of = |length: usize, scheme| Hash::new(&vec![b'x'; length], scheme).map(drop);
    assert_eq!(of(72, Scheme::Bcrypt), Ok(()));
    assert_eq!(of(73, Scheme::Bcrypt), Err(HashError::Password(72)));
    assert_eq!(
        of(1025, Scheme::ScramSha256),
        Err(HashError::Password(1024))
    );
    let computed = COMPUTED.get();
    assert!(!Hash::decoy(Scheme::Argon2id.recipe()).fits(&[b'x'; 1025]));
    assert_eq!(COMPUTED.get(), computed);
}

/// Hashes that would hold up the server or take its memory are refused before anything is
/// computed; so is what no scheme has written. No text of an error shows the hash.
#[test]
fn costs_and_forms_are_checked() {
    let argon2 = |costs: &str| {
        format!("$argon2id$v=19${costs}$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
    };
    let scrypt = |costs: &str| {
        format!(
            "$scrypt${costs}$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
        )
    };
    let bcrypt =
        |cost: &str| format!("$2b${cost}$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie");
    let sha = |rounds: &str| format!("$6${rounds}saltstring${}", "a".repeat(86));
    let key = data_encoding::BASE64.encode(&[0; 32]);
    let scram = |iterations: &str| format!("SCRAM-SHA-256${iterations}:c2FsdA==${key}:{key}");
    let table = [
        (argon2("m=4194304,t=2,p=1"), "hash asks for argon2 m=4194304: must be 8 to 262144"),
        (argon2("m=7,t=2,p=1"), "hash asks for argon2 m=7: must be 8 to 262144"),
        (argon2("m=15,t=2,p=2"), "hash asks for argon2 m=15: must be 16 to 262144"),
        (argon2("m=19456,t=2147483648,p=1"), "hash asks for argon2 t=2147483648: must be 1 to 53"),
        (argon2("m=256,t=0,p=1"), "hash asks for argon2 t=0: must be 1 to 4096"),
        (argon2("m=256,t=1,p=65"), "hash asks for argon2 p=65: must be 1 to 64"),
        (argon2("m=256,t=99999999999999999999,p=1"), "hash asks for argon2 t=18446744073709551615: must be 1 to 4096"),
        (argon2("m=256,t=1"), "malformed hash: must be $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$DIGEST"),
        (argon2("m=256,t=1,p=1,data=YWJj"), "malformed hash: must be $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$DIGEST"),
        (bcrypt("31"), "hash asks for bcrypt cost=31: must be 4 to 15"),
        (bcrypt("03"), "hash asks for bcrypt cost=3: must be 4 to 15"),
        (bcrypt("4"), "malformed hash: must be $2b$COST$ and 53 characters"),
        (scrypt("ln=63,r=8,p=1"), "hash asks for scrypt ln=63: must be 1 to 18"),
        (scrypt("ln=16,r=1,p=1"), "hash asks for scrypt ln=16: must be 1 to 15"),
        (scrypt("ln=10,r=4294967295,p=1"), "hash asks for scrypt r=4294967295: must be 1 to 64"),
        (scrypt("ln=18,r=8,p=5"), "hash asks for scrypt p=5: must be 1 to 4"),
        (sha("rounds=2147483648$"), "hash asks for sha512-crypt rounds=2147483648: must be 1000 to 1000000"),
        (sha("rounds=99999999999999999999999$"), "hash asks for sha512-crypt rounds=18446744073709551615: must be 1000 to 1000000"),
        (sha("rounds=999$"), "hash asks for sha512-crypt rounds=999: must be 1000 to 1000000"),
        (sha("rounds=+999$"), "malformed hash: must be $6$rounds=ROUNDS$SALT$DIGEST, with a salt of at most 16 and a digest of 86 characters"),
        (sha("rounds=1000$toolong"), "malformed hash: must be $6$rounds=ROUNDS$SALT$DIGEST, with a salt of at most 16 and a digest of 86 characters"),
        (scram("2147483648"), "hash asks for scram-sha-256 iterations=2147483648: must be 1 to 1000000"),
        (scram("0"), "hash asks for scram-sha-256 iterations=0: must be 1 to 1000000"),
        (scram("04096"), "malformed hash: must be SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, in base64"),
        (scram("4096") + ":", "malformed hash: must be SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, in base64"),
        (scram("4096").replace(':', "$"), "malformed hash: must be SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, in base64"),
        ("SCRAM-SHA-256$".into(), "malformed hash: must be SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, in base64"),
    ];
    for (text, want) in table {
        let said = Hash::parse(&text).map(drop).unwrap_err().to_string();
        assert_eq!(said, want, "{text}");
    }
    let unknown = [
        "",
        "$",
        "$$",
        "secret",
        "$ecret$",
        "$1$salt$hash",
        "$5$salt$hash",
        "$2x$04$x",
        "$2$",
    ];
    for text in unknown {
        assert_eq!(Hash::parse(text).err(), Some(HashError::Prefix), "{text}");
    }
    assert!(Hash::parse(&format!("$2b${}", "x".repeat(100_000))).is_err());
}

/// No text makes the reader panic.
#[test]
fn cut_and_changed_hashes_are_refused_or_read() {
    for (_, text) in KNOWN {
        for at in 0..text.len() {
            let cut = Hash::parse(&text[..at]);
            assert!(
                cut.is_err() || text.starts_with("$argon2"),
                "{}",
                &text[..at]
            );
            for other in ["$", "\u{e4}", ":", "=", ""] {
                let _ = Hash::parse(&format!("{}{other}{}", &text[..at], &text[at + 1..]));
            }
        }
    }
}

#[test]
fn hashes_are_not_shown() {
    let shown = format!("{:?}", Hash::parse(KNOWN[0].1).unwrap());
    assert!(
        !shown.contains("nf65EO") && !shown.contains("c29tZ"),
        "{shown}"
    );
}
