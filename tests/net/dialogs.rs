//! Whole dialogs, with exact bytes.

use pop3_proto::session::EndReason;

use crate::support::*;
use pop3_proto::connection::End;

const MAILS: [&str; 3] = ["a: b\n\n.x\ny\n", "c: d\r\n\r\nz", ""];

/// Command, and the whole reply.
const DIALOG: [(&str, &str); 16] = [
    ("USER u1", "+OK please send PASS command\r\n"),
    ("PASS secret", "+OK congratulations\r\n"),
    ("STAT", "+OK 3 20\r\n"),
    ("LIST", "+OK 3 messages\r\n1 11\r\n2 9\r\n3 0\r\n.\r\n"),
    ("LIST 2", "+OK 2 9\r\n"),
    (
        "UIDL",
        "+OK unique-id listing follows\r\n1 id1\r\n2 id2\r\n3 id3\r\n.\r\n",
    ),
    ("UIDL 3", "+OK 3 id3\r\n"),
    ("RETR 1", "+OK 11 octets\r\na: b\r\n\r\n..x\r\ny\r\n.\r\n"),
    ("RETR 2", "+OK 9 octets\r\nc: d\r\n\r\nz\r\n.\r\n"),
    ("RETR 3", "+OK 0 octets\r\n.\r\n"),
    ("TOP 1 0", "+OK \r\na: b\r\n\r\n.\r\n"),
    ("DELE 2", "+OK message 2 deleted\r\n"),
    ("RETR 2", "-ERR no such message\r\n"),
    ("XTND", "-ERR unknown command 'XTND'\r\n"),
    ("NOOP", "+OK \r\n"),
    ("QUIT", "+OK h.example S shutting down\r\n"),
];

#[test]
fn one_command_at_a_time() {
    let store = Same::of(&MAILS);
    let bench = Bench::direct(&store, limits());
    let mut client = bench.connect();
    for (command, want) in DIALOG {
        client.send(&format!("{command}\r\n"));
        let mut got = String::new();
        while got.len() < want.len() {
            let line = client.line();
            assert!(!line.is_empty(), "{command}: the stream ended");
            got += &line;
        }
        assert_eq!(got, want, "{command}");
    }
    client.assert_ended();
    assert_eq!(
        bench.heard.the_end(),
        End::Session(EndReason::Quit).to_string()
    );
    assert_eq!(
        *store.ledger.deleted.lock().unwrap(),
        [("m1".to_string(), 2)]
    );
    bench.assert_clean(&store.ledger);
}

/// RFC 2449 §6.6: all commands in one write, and cut at any place.
#[test]
fn pipelined_in_any_pieces() {
    let store = Same::of(&MAILS);
    let bench = Bench::direct(&store, limits());
    let input: String = DIALOG.iter().map(|(c, _)| format!("{c}\r\n")).collect();
    let want: String = DIALOG.iter().map(|(_, r)| *r).collect();
    for piece in [1, 2, 3, 7, 20, 50, input.len()] {
        let mut client = bench.connect();
        for part in input.as_bytes().chunks(piece) {
            client.send(std::str::from_utf8(part).unwrap());
        }
        assert_eq!(client.rest(), want, "in pieces of {piece}");
    }
    bench.assert_clean(&store.ledger);
}

/// A client may end its side first: what it asked is still answered.
#[test]
fn half_closed() {
    let store = Same::of(&MAILS);
    let bench = Bench::direct(&store, limits());
    let mut client = bench.connect();
    client.send("USER u1\r\nPASS secret\r\nRETR 1\r\nSTAT\r\n");
    client.shut_writing();
    let want: String = [DIALOG[0], DIALOG[1], DIALOG[7], DIALOG[2]]
        .map(|(_, r)| r)
        .concat();
    assert_eq!(client.rest(), want);
    assert_eq!(bench.heard.the_end(), End::PeerClosed.to_string());
    bench.assert_clean(&store.ledger);
}

/// The last reply arrives although more input follows than anybody reads.
#[test]
fn input_after_quit_is_thrown_away() {
    let store = Same::of(&MAILS);
    let bench = Bench::direct(&store, limits());
    for _ in 0..20 {
        let mut client = bench.connect();
        client.login("u1");
        let more = "USER u1\r\nPASS secret\r\nDELE 1\r\n".repeat(1000);
        client.send(&format!("QUIT\r\n{more}"));
        assert_eq!(client.rest(), "+OK h.example S shutting down\r\n");
    }
    bench.assert_clean(&store.ledger);
    assert_eq!(
        store.ledger.locks.load(std::sync::atomic::Ordering::SeqCst),
        20
    );
    assert!(store.ledger.deleted.lock().unwrap().is_empty());
}

/// After QUIT the mailbox is free before the client reads the reply.
#[test]
fn free_again_at_once() {
    let store = Same::of(&MAILS);
    let bench = Bench::direct(&store, limits());
    for _ in 0..200 {
        let mut client = bench.connect();
        client.login("u1");
        client.expect("QUIT", "+OK h.example S shutting down");
        assert_eq!(bench.server.connections(), []);
    }
}

#[test]
fn a_locked_mailbox_is_refused() {
    let store = Same::of(&MAILS);
    let bench = Bench::direct(&store, limits());
    let mut first = bench.connect();
    first.login("u1");
    let mut second = bench.connect();
    second.ask("USER u1");
    let refusal = second.ask("PASS secret");
    assert!(refusal.starts_with("-ERR [IN-USE] could not aquire lock"));
    second.login("u2");
    let ids = bench.server.connections();
    let state = bench.server.connection(ids[1]).unwrap();
    assert_eq!(&*state.snapshot.storage, "m2");
    assert_eq!(state.peer, second.reader.get_ref().local_addr().unwrap());
}

/// What is told of a session holds no secret.
#[test]
fn no_secret_is_told() {
    let store = Same::of(&MAILS);
    let bench = Bench::direct(&store, limits());
    let mut client = bench.connect();
    client.ask("APOP u1 0123456789abcdef0123456789abcdef");
    client.ask("USER u1");
    client.ask("PASS wrong-word");
    client.login("u1");
    client.ask("QUIT");
    bench.assert_clean(&store.ledger);
    bench.heard.the_end();
    // The reason of a refusal has the word, too.
    let all = bench.heard.all.lock().unwrap();
    let all = all.replace("wrong user or secret", "");
    for secret in ["secret", "wrong-word", "0123456789abcdef"] {
        assert!(!all.contains(secret), "{all}");
    }
    assert!(
        all.contains("LoginRefused") && all.contains("LoggedIn"),
        "{all}"
    );
}

/// Without storage every mailbox is empty; without users every login fails.
#[test]
fn without_stores() {
    use pop3d::store::access::Route;
    let store = Same::of(&MAILS);
    let bench = Bench::direct(&store, limits());
    bench.access.set_storage(Route::None);
    let mut client = bench.connect();
    client.login("u1");
    client.expect("STAT", "+OK 0 0");
    client.expect("LIST", "+OK 0 messages");
    assert_eq!(client.line(), ".\r\n");
    bench.access.set_users(Route::None);
    let mut client = bench.connect();
    client.ask("USER u1");
    client.expect("PASS secret", "-ERR [AUTH] authentication failed, sorry");
}
