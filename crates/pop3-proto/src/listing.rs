//! LIST and UIDL of a whole maildrop: an answer that resumes.

use std::sync::Arc;

use super::maildrop::Maildrop;
use super::{reply, MsgNo};

/// What the lines of a listing show.
#[derive(Clone, Debug)]
pub enum Column {
    /// LIST: octets.
    Sizes(Arc<[u64]>),
    /// UIDL: unique ids.
    Uids(Arc<[Box<str>]>),
}

impl Column {
    /// Number of entries.
    fn len(&self) -> usize {
        match self {
            Self::Sizes(sizes) => sizes.len(),
            Self::Uids(uids) => uids.len(),
        }
    }

    /// Appends the line of the message at `index`, from 0.
    fn write(&self, out: &mut Vec<u8>, index: usize) {
        let Some(number) = u32::try_from(index + 1).ok().and_then(MsgNo::new) else {
            return;
        };
        match self {
            Self::Sizes(sizes) => reply::size_item(out, number, sizes[index]),
            Self::Uids(uids) => reply::uid_item(out, number, &uids[index]),
        }
    }
}

/// A listing under way.
#[derive(Debug)]
pub struct Listing {
    column: Column,
    /// Index of the message whose line comes next.
    next: usize,
}

impl Listing {
    /// Begins a listing of `maildrop`; none if `column` does not have an entry
    /// for each message.
    pub fn new(column: Column, maildrop: &Maildrop) -> Option<Self> {
        let fits = column.len() == maildrop.count() as usize;
        fits.then_some(Self { column, next: 0 })
    }

    /// Appends lines until `out` has `mark` bytes or the listing is complete;
    /// true when it is. Marked messages are left out (RFC 1939 §5, LIST).
    pub fn write(&mut self, maildrop: &Maildrop, out: &mut Vec<u8>, mark: usize) -> bool {
        while out.len() < mark {
            if self.next == self.column.len() {
                reply::end_of_list(out);
                return true;
            }
            if maildrop.is_live(self.next) {
                self.column.write(out, self.next);
            }
            self.next += 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_the_same_however_often_it_pauses() {
        let mut maildrop = Maildrop::new(12, 0);
        for n in [1, 5, 12] {
            maildrop.mark(MsgNo::new(n).unwrap()).unwrap();
        }
        let sizes = Column::Sizes((100..112).collect());
        let uids = Column::Uids((100..112).map(|n| n.to_string().into()).collect());
        let want = "2 101\r\n3 102\r\n4 103\r\n6 105\r\n7 106\r\n8 107\r\n9 108\r\n\
                    10 109\r\n11 110\r\n.\r\n";
        for column in [sizes, uids] {
            for mark in 1..=want.len() + 1 {
                let mut listing = Listing::new(column.clone(), &maildrop).unwrap();
                let (mut all, mut out) = (Vec::new(), Vec::new());
                while !listing.write(&maildrop, &mut out, mark) {
                    assert!(out.len() >= mark && out.len() < mark + 8);
                    all.append(&mut out);
                }
                all.append(&mut out);
                assert_eq!(String::from_utf8(all).unwrap(), want, "{mark}");
            }
        }
    }

    #[test]
    fn a_column_of_another_length_is_refused() {
        let maildrop = Maildrop::new(2, 0);
        for (len, fits) in [(0, false), (1, false), (2, true), (3, false)] {
            let column = Column::Sizes(vec![0; len].into());
            assert_eq!(Listing::new(column, &maildrop).is_some(), fits, "{len}");
        }
    }
}
