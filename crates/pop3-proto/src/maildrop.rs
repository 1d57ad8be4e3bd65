//! What a session knows of its maildrop: numbers, octets, deletion marks.

use super::MsgNo;

/// No live message has the number: it is 0, beyond the last, marked as deleted,
/// or no number at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchMessage;

/// A maildrop as it was at login, with the marks made since.
#[derive(Debug)]
pub struct Maildrop {
    count: u32,
    octets: u64,
    /// Boxed, and absent before the first DELE: most sessions make no mark.
    marks: Option<Box<Marks>>,
}

/// Which messages are marked as deleted.
#[derive(Debug, Default)]
struct Marks {
    /// One bit for each message up to the highest marked one.
    bits: Vec<u64>,
    /// The marked messages in the order of their marking.
    order: Vec<MsgNo>,
    /// So many of them, the first, are in `octets`.
    measured: usize,
    /// Octets of the measured ones.
    octets: u64,
}

impl Marks {
    fn contains(&self, index: usize) -> bool {
        let word = self.bits.get(index / 64);
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn insert(&mut self, number: MsgNo) {
        let index = number.index();
        if self.bits.len() <= index / 64 {
            self.bits.resize(index / 64 + 1, 0);
        }
        self.bits[index / 64] |= 1 << (index % 64);
        self.order.push(number);
    }
}

impl Maildrop {
    /// A maildrop of `count` messages of `octets` octets together.
    pub fn new(count: u32, octets: u64) -> Self {
        let marks = None;
        Self {
            count,
            octets,
            marks,
        }
    }

    /// Number of messages at login, marked ones included.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Octets at login, marked messages included.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The marked messages, in the order of their marking.
    pub fn marked(&self) -> &[MsgNo] {
        self.marks.as_ref().map_or(&[], |marks| &marks.order)
    }

    /// The marked messages whose sizes are not known yet: a client may ask for the totals
    /// after each of a hundred thousand marks.
    pub fn unmeasured(&self) -> &[MsgNo] {
        let marks = self.marks.as_ref();
        marks.map_or(&[], |marks| &marks.order[marks.measured..])
    }

    /// Takes the sizes of the [`unmeasured`](Self::unmeasured) messages; false if there is
    /// not one for each.
    pub fn measure(&mut self, sizes: &[u64]) -> bool {
        let fits = sizes.len() == self.unmeasured().len();
        if let Some(marks) = self.marks.as_mut().filter(|_| fits) {
            marks.measured = marks.order.len();
            let add = |all: u64, size: &u64| all.saturating_add(*size);
            marks.octets = sizes.iter().fold(marks.octets, add);
        }
        fits
    }

    /// Octets of the messages that are not marked, as far as those are measured. A
    /// storage's total need not be the sum of its sizes; never below 0.
    pub fn live_octets(&self) -> u64 {
        let marked = self.marks.as_ref().map_or(0, |marks| marks.octets);
        match self.live_count() {
            0 => 0,
            _ => self.octets.saturating_sub(marked),
        }
    }

    /// Number of messages that are not marked.
    pub fn live_count(&self) -> u32 {
        // Never more than `count` numbers are marked, each once.
        self.count - self.marked().len() as u32
    }

    /// Checks that `number` names a message that is not marked (RFC 1939 §5:
    /// "any future reference to the message-number … generates an error").
    ///
    /// # Errors
    /// [`NoSuchMessage`] if it does not.
    pub fn live(&self, number: MsgNo) -> Result<MsgNo, NoSuchMessage> {
        if number.get() <= self.count && self.is_live(number.index()) {
            Ok(number)
        } else {
            Err(NoSuchMessage)
        }
    }

    /// Whether the message at `index`, from 0 and within the maildrop, is not
    /// marked.
    pub fn is_live(&self, index: usize) -> bool {
        !self
            .marks
            .as_ref()
            .is_some_and(|marks| marks.contains(index))
    }

    /// DELE: marks a message.
    ///
    /// # Errors
    /// [`NoSuchMessage`] if there is none or it is marked already.
    pub fn mark(&mut self, number: MsgNo) -> Result<(), NoSuchMessage> {
        let number = self.live(number)?;
        self.marks.get_or_insert_default().insert(number);
        Ok(())
    }

    /// RSET: takes all marks away.
    pub fn unmark_all(&mut self) {
        self.marks = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(n: u32) -> MsgNo {
        MsgNo::new(n).unwrap()
    }

    #[test]
    fn numbers_run_from_one_to_the_count() {
        for count in [0, 1, 63, 64, 65, 1000] {
            let drop = Maildrop::new(count, 9);
            assert_eq!((drop.count(), drop.octets()), (count, 9));
            for n in 1..=count {
                assert_eq!(drop.live(no(n)), Ok(no(n)));
            }
            assert_eq!(drop.live(no(count + 1)), Err(NoSuchMessage));
            assert_eq!(drop.live(no(u32::MAX)), Err(NoSuchMessage));
        }
    }

    #[test]
    fn each_mark_is_measured_once() {
        let mut drop = Maildrop::new(3, 100);
        assert!(drop.measure(&[]) && drop.unmeasured().is_empty());
        drop.mark(no(2)).unwrap();
        assert!(!drop.measure(&[]) && !drop.measure(&[1, 2]));
        assert_eq!((drop.unmeasured(), drop.live_octets()), (&[no(2)][..], 100));
        assert!(drop.measure(&[30]));
        drop.mark(no(1)).unwrap();
        assert_eq!((drop.unmeasured(), drop.live_octets()), (&[no(1)][..], 70));
        assert!(drop.measure(&[u64::MAX]));
        assert_eq!((drop.unmeasured(), drop.live_octets()), (&[][..], 0));
        drop.unmark_all();
        assert_eq!((drop.unmeasured(), drop.live_octets()), (&[][..], 100));
        // The sizes of some storages are not its total.
        (1..=3).for_each(|n| drop.mark(no(n)).unwrap());
        assert!(drop.measure(&[1, 1, 1]));
        assert_eq!(drop.live_octets(), 0);
    }

    #[test]
    fn marked_messages_are_gone_until_unmarked() {
        let mut drop = Maildrop::new(200, 0);
        let order = [64, 1, 200, 65, 128, 129];
        for n in order {
            assert_eq!(drop.mark(no(n)), Ok(()));
            assert_eq!(drop.mark(no(n)), Err(NoSuchMessage), "{n} twice");
        }
        assert_eq!(drop.mark(no(201)), Err(NoSuchMessage));
        assert_eq!(drop.marked(), order.map(no));
        assert_eq!(drop.live_count(), 194);
        for n in 1..=200 {
            assert_eq!(drop.live(no(n)).is_ok(), !order.contains(&n), "{n}");
        }
        drop.unmark_all();
        assert_eq!(drop.live_count(), 200);
        assert_eq!(drop.marked(), []);
    }

    #[test]
    fn all_may_be_marked() {
        let mut drop = Maildrop::new(130, 0);
        for n in (1..=130).rev() {
            drop.mark(no(n)).unwrap();
        }
        assert_eq!(drop.live_count(), 0);
    }

    #[test]
    fn a_maildrop_without_marks_owns_no_memory() {
        assert!(Maildrop::new(100_000, 1).marks.is_none());
        assert!(size_of::<Maildrop>() <= 24);
    }
}
