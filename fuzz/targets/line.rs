//! Lines and commands: what they are does not depend on the pieces that they come in.

use pop3_proto::command::Command;
use pop3_proto::line::{Line, LineReader};

use super::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (bound, size) = (input.byte().into(), usize::from(input.byte()).max(1));
    let text = input.rest();
    let lines = read(text, bound, size);
    assert_eq!(lines, read(text, bound, usize::MAX));
    assert_eq!(lines.len(), text.iter().filter(|&&b| b == b'\n').count());
    for line in lines.iter().flatten() {
        assert!(line.len() <= bound);
        if let Command::Unknown(verb) = Command::parse(line) {
            assert!(verb.as_str().len() <= 40);
            assert!(verb.as_str().bytes().all(|b| (0x21..0x7f).contains(&b)));
        }
    }
    let _ = Command::parse(text);
}

fn read(text: &[u8], bound: usize, size: usize) -> Vec<Option<Vec<u8>>> {
    let mut reader = LineReader::default();
    let mut lines = Vec::new();
    for piece in text.chunks(size) {
        reader.push(piece);
        while let Some(line) = reader.next_line(bound) {
            lines.push(match line {
                Line::Text(text) => Some(text.to_vec()),
                Line::TooLong => None,
            });
        }
    }
    lines
}
