//! Messages on their way: what a client takes out of the wire form is the message, with
//! CRLF at the end of each line, in whatever pieces it was read.

use pop3_proto::body::{Body, Cut, OctetCounter};
use pop3_proto::Extent;

use super::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let lines = input.byte();
    let sizes = [input.byte(), input.byte(), input.byte()];
    let sizes = sizes.map(|size| usize::from(size).max(1));
    let message = input.rest();
    let whole = wire(message, Extent::Whole, &sizes);
    assert_eq!(whole, wire(message, Extent::Whole, &[usize::MAX]));
    let text = unstuffed(&whole);
    assert_eq!(text, normalised(message));
    let mut counter = OctetCounter::new();
    message
        .chunks(sizes[0])
        .for_each(|chunk| counter.push(chunk));
    assert_eq!(counter.octets(), text.len() as u64);
    let top = wire(message, Extent::Top(lines.into()), &sizes);
    let wanted = Cut::new(lines.into()).wanted(message);
    assert_eq!(unstuffed(&top), normalised(&message[..wanted]));
}

fn wire(message: &[u8], extent: Extent, sizes: &[usize]) -> Vec<u8> {
    let mut body = Body::new(extent);
    let (mut out, mut rest) = (Vec::new(), message);
    for size in sizes.iter().cycle() {
        let (chunk, later) = rest.split_at(rest.len().min(*size));
        body.push(chunk, &mut out);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    body.finish(&mut out);
    out
}

/// The text before the line of the dot, which must be the last.
fn unstuffed(wire: &[u8]) -> Vec<u8> {
    let (mut text, mut rest) = (Vec::new(), wire);
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let line = &rest[..end];
        rest = &rest[end + 2..];
        match line {
            b"." => break,
            [b'.', stuffed @ ..] => text.extend_from_slice(stuffed),
            _ => text.extend_from_slice(line),
        }
        text.extend_from_slice(b"\r\n");
    }
    assert!(rest.is_empty());
    text
}

/// Each LF that is not one made a CRLF, and one at the end of the last line.
fn normalised(message: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        match line {
            [line @ .., b'\r', b'\n'] | [line @ .., b'\n'] => text.extend_from_slice(line),
            line => text.extend_from_slice(line),
        }
        text.extend_from_slice(b"\r\n");
    }
    text
}
