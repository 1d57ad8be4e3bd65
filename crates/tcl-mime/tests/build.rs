//! The fallback `mime` package: parts that scripts build, the options they
//! build them with, and how long parts live.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use tcl_mime::{Eol, Property, Recipe, Setting, Store, Token};

use Setting::{Canonical, Content, Encoding, File, Header, Param, Parts};

fn text(text: &str) -> String {
    text.to_owned()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (text(name), text(value))
}

fn param(name: &str, value: &str) -> Setting {
    let (name, value) = pair(name, value);
    Param(name, value)
}

fn header(name: &str, value: &str) -> Setting {
    let (name, value) = pair(name, value);
    Header(name, value)
}

fn content(bytes: &[u8]) -> Setting {
    Content(bytes.to_vec())
}

/// The token of a part with these options, or the error's text.
fn make(store: &mut Store, settings: Vec<Setting>) -> Result<Token, String> {
    let mut recipe = Recipe::new();
    for setting in settings {
        recipe.add(setting).map_err(|error| error.to_string())?;
    }
    let read = |name: &str| match name {
        "there" => Ok(b"from the file\n".to_vec()),
        _ => Err(format!(
            "couldn't open \"{name}\": no such file or directory"
        )),
    };
    let made = store
        .initialize(recipe, read)
        .map_err(|error| error.to_string())?;
    Ok(made[0].clone())
}

/// A built part; the Content-ID is `id`.
fn built(store: &mut Store, kind: &str, mut settings: Vec<Setting>) -> Token {
    settings.push(Canonical(text(kind)));
    settings.push(header("Content-ID", "id"));
    make(store, settings).unwrap()
}

fn build(store: &Store, token: &str) -> String {
    let lf = store.build(token, Eol::Lf).unwrap();
    let crlf = store.build(token, Eol::CrLf).unwrap();
    let lf = String::from_utf8(lf).unwrap();
    assert_eq!(lf.replace('\n', "\r\n"), String::from_utf8(crlf).unwrap());
    lf
}

#[test]
fn leaves_are_built_as_by_tcllib() {
    const X80: &str =
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let accents = [b"caf\xe9 ", X80.as_bytes(), b" \n.dot\nFrom x\n"].concat();
    let table = [
        ("text/plain", vec![content(b"hello\nworld\n")], "Content-Type: text/plain\n\nhello\nworld\n"),
        ("TEXT/Plain", vec![content(b"a\r\nb")], "Content-Type: text/plain\n\na\nb"),
        ("text/plain", vec![File(text("there"))], "Content-Type: text/plain\n\nfrom the file\n"),
        ("text/plain", vec![content(b"")], "Content-Type: text/plain\n\n"),
        (
            "text/plain",
            vec![param("CharSet", "iso-8859-1"), content(&accents)],
            "Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain;\n              charset=\"iso-8859-1\"\n\ncaf=E9 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx=\nxxxxxxxxxxxxxx=20\n.dot\n=46rom x\n",
        ),
        (
            "text/plain",
            vec![param("charset", "utf-8"), content(&accents)],
            "Content-Transfer-Encoding: base64\nContent-Type: text/plain;\n              charset=\"utf-8\"\n\nY2Fm6SB4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4\neHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eCAKLmRvdApGcm9tIHgK",
        ),
        (
            "image/gif",
            vec![param("name", "x.gif"), content(&b"\x00\xff\x10".repeat(30))],
            "Content-Transfer-Encoding: base64\nContent-Type: image/gif;\n              name=\"x.gif\"\n\nAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8Q\nAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8QAP8Q",
        ),
        (
            "text/plain",
            vec![Encoding(text("BASE64")), content(b"caf\n")],
            "Content-Transfer-Encoding: base64\nContent-Type: text/plain\n\nY2FmCg==",
        ),
        (
            "text/plain",
            vec![Encoding(text("7bit")), content(b". \n")],
            "Content-Transfer-Encoding: 7bit\nContent-Type: text/plain\n\n. \n",
        ),
    ];
    for (kind, settings, want) in table {
        let mut store = Store::new();
        let token = built(&mut store, kind, settings);
        let want = format!("MIME-Version: 1.0\nContent-ID: id\n{want}");
        assert_eq!(build(&store, &token), want);
    }
}

#[test]
fn fields_come_in_the_order_given_and_content_ids_are_made() {
    let mut store = Store::new();
    let settings = vec![
        Canonical(text("text/plain")),
        header("Subject", "hi there"),
        header("X-A", "1"),
        header("To", "desk@example.com"),
        header("x-a", "2"),
        content(b""),
    ];
    let token = make(&mut store, settings).unwrap();
    let header = store.header(&token).unwrap();
    let names: Vec<&str> = header.iter().map(|(name, _)| name.as_str()).collect();
    let want = [
        "MIME-Version",
        "Subject",
        "X-A",
        "X-A",
        "To",
        "Content-ID",
        "Content-Type",
    ];
    assert_eq!(names, want);
    let id = &header[5].1;
    assert!(
        id.starts_with(&format!("<{}.", std::process::id())) && id.ends_with('>'),
        "{id}"
    );
    assert_ne!(*id, store.unique_id());
}

#[test]
fn a_binary_body_goes_out_as_it_is() {
    let mut store = Store::new();
    let settings = vec![Encoding(text("binary")), content(b"\n\xff\r\r\n")];
    let token = built(&mut store, "application/x", settings);
    let crlf = store.build(&token, Eol::CrLf).unwrap();
    assert!(crlf.ends_with(b"application/x\r\n\r\n\n\xff\r\r\n"));
}

#[test]
fn parts_are_built_between_boundaries() {
    let mut store = Store::new();
    let one = built(&mut store, "text/plain", vec![content(b"one\n")]);
    let two = make(&mut store, vec![content(b"Subject: two\r\n\r\nzwei\r\n")]).unwrap();
    let leaf = "MIME-Version: 1.0\nContent-ID: id\nContent-Type: text/plain\n\none\n";
    let parts = Parts(vec![one.clone(), two.clone()]);
    let both = built(
        &mut store,
        "multipart/mixed",
        vec![param("boundary", "B"), parts.clone()],
    );
    assert_eq!(
        build(&store, &both),
        format!("MIME-Version: 1.0\nContent-ID: id\nContent-Type: multipart/mixed;\n              boundary=\"B\"\n\n--B\n{leaf}\n--B\nSubject: two\n\nzwei\n\n--B--\n")
    );
    let message = built(&mut store, "message/rfc822", vec![parts.clone()]);
    assert_eq!(
        build(&store, &message),
        format!("MIME-Version: 1.0\nContent-ID: id\nContent-Type: message/rfc822\n\n{leaf}")
    );
    assert_eq!(store.property(&both, "size"), Ok(Property::Size(10)));
    assert_eq!(
        store.property_names(&both).unwrap(),
        ["content", "encoding", "params", "parts"]
    );
    assert_eq!(
        store.body(&both).unwrap_err().to_string(),
        "MIME part isn't a leaf"
    );

    // A later change of a part shows; an own boundary is made where none is given.
    store.set_field(&two, "Subject", "2", "write").unwrap();
    let free = built(&mut store, "multipart/mixed", vec![param("x", "y"), parts]);
    let message = build(&store, &free);
    let again = make(&mut store, vec![Content(message.into_bytes())]).unwrap();
    assert_eq!(store.body(&format!("{again}-1")).unwrap(), b"one\n");
    assert_eq!(store.body(&format!("{again}-2")).unwrap(), b"zwei\n");
    assert_eq!(
        store.field(&format!("{again}-2"), "subject").unwrap(),
        ["2"]
    );
    assert_eq!(
        store.property(&free, "params"),
        Ok(Property::Params(vec![pair("x", "y")]))
    );
}

#[test]
fn scripts_may_nest_without_a_bound() {
    let mut store = Store::new();
    let mut token = built(&mut store, "text/plain", vec![content(b"x")]);
    for _ in 0..50_000 {
        token = built(&mut store, "message/rfc822", vec![Parts(vec![token])]);
    }
    assert!(store.build(&token, Eol::Lf).unwrap().ends_with(b"\n\nx"));
    assert_eq!(store.property(&token, "size"), Ok(Property::Size(1)));
    assert_eq!(store.finalize(&token, "all").unwrap().len(), 50_001);
}

#[test]
fn wrong_options_are_refused_as_by_tcllib() {
    let canonical = || Canonical(text("text/plain"));
    let given = || content(b"x");
    let table = [
        (vec![], "specify exactly one of -file, -parts, or -string"),
        (
            vec![given(), File(text("f"))],
            "specify exactly one of -file, -parts, or -string",
        ),
        (
            vec![File(text("none"))],
            "couldn't open \"none\": no such file or directory",
        ),
        (
            vec![canonical(), Encoding(text("Foo"))],
            "unknown value for -encoding Foo",
        ),
        (
            vec![param("a", "b"), param("A", "c")],
            "the A parameter may be specified at most once",
        ),
        (
            vec![header("content-type", "x")],
            "use -canonical instead of -header content-type x",
        ),
        (
            vec![header("Content-Transfer-Encoding", "x")],
            "use -encoding instead of -header Content-Transfer-Encoding x",
        ),
        (vec![header("content-md5", "x")], "don't go there..."),
        (vec![header("Mime-Version", "x")], "don't go there..."),
        (vec![param("a", "b"), given()], "-param requires -canonical"),
        (
            vec![header("a", "b"), given()],
            "-header requires -canonical",
        ),
        (
            vec![Encoding(text("7bit")), given()],
            "-encoding requires -canonical",
        ),
        (vec![Parts(vec![])], "-parts requires -canonical"),
        (
            vec![canonical(), Parts(vec![])],
            "-canonical text/plain and -parts do not mix",
        ),
        (
            vec![
                Canonical(text("a/b")),
                Encoding(text("7bit")),
                Parts(vec![]),
            ],
            "-encoding and -parts do not mix",
        ),
        (
            vec![Canonical(text("a/b")), Parts(vec!["::mime::7".into()])],
            "unknown mime token \"::mime::7\"",
        ),
    ];
    for (settings, want) in table {
        let mut store = Store::new();
        assert_eq!(make(&mut store, settings), Err(text(want)));
        assert!(store.is_empty());
    }
}

#[test]
fn parts_live_until_they_are_finalized() {
    const MAIL: &[u8] = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n1\n--b\nContent-Type: message/rfc822\n\n\n2\n--b--\n";
    // What is finalized, how, and how many parts of the seven then remain.
    let table = [
        ("::mime::1", "dynamic", 3),
        ("::mime::1", "all", 3),
        ("::mime::1", "none", 6),
        ("::mime::1-2", "dynamic", 5),
        ("::mime::2", "dynamic", 6),
        ("::mime::4", "dynamic", 6),
        ("::mime::4", "none", 6),
        ("::mime::4", "all", 1),
    ];
    for (token, subordinates, remain) in table {
        let mut store = Store::new();
        make(&mut store, vec![content(MAIL)]).unwrap();
        for _ in 0..2 {
            make(&mut store, vec![Canonical(text("a/b")), content(b"")]).unwrap();
        }
        let parts = ["::mime::1", "::mime::2"].map(Token::from).to_vec();
        make(
            &mut store,
            vec![Canonical(text("multipart/mixed")), Parts(parts)],
        )
        .unwrap();
        assert_eq!(store.len(), 7, "four of them in the mail");
        let gone = store.finalize(token, subordinates).unwrap();
        assert_eq!(store.len(), 7 - gone.len());
        assert_eq!(store.len(), remain, "{token} {subordinates}");
        assert!(!store.exists(token));
        let again = store.finalize(token, "none").unwrap_err();
        assert_eq!(again.to_string(), format!("unknown mime token \"{token}\""));
    }
    let mut store = Store::new();
    let token = make(&mut store, vec![content(b"x")]).unwrap();
    let error = store.finalize(&token, "some").unwrap_err();
    assert_eq!(error.to_string(), "unknown value for -subordinates some");
    let error = store.property(&token, "parts").unwrap_err();
    assert_eq!(error.to_string(), "MIME part is a leaf");
    let error = store.property(&token, "colour").unwrap_err();
    assert_eq!(error.to_string(), "unknown property colour");
    let error = store.field(&token, "To").unwrap_err();
    assert_eq!(error.to_string(), "key To not in header");
}
