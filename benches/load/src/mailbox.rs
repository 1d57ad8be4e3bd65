//! Mailboxes: which there are, how they lie in directories, and their
//! manifests, by which the client knows what it must receive.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::corpus::{self, Ends, Expected, Shape, Wanted};

/// Mailboxes of one sort; user `NAME-i` owns the `i`th of them.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// First part of the users' names.
    pub name: &'static str,
    /// How many users have such a mailbox.
    pub users: usize,
    /// Messages in each of them.
    pub messages: usize,
    /// What the messages look like.
    pub shape: Shape,
    /// The line ends of the stored files.
    pub ends: Ends,
}

/// Different messages of one kind; larger mailboxes repeat them by hard links
/// (a file may have 65,000 links on ext4).
const UNIQUE: usize = 1000;

/// Password of every user.
pub const PASSWORD: &str = "secret";

const fn kind(name: &'static str, users: usize, messages: usize, shape: Shape) -> Kind {
    Kind {
        name,
        users,
        messages,
        shape,
        ends: Ends::Mixed,
    }
}

const SMALL: Shape = Shape::Text(700);

/// Every sort of mailbox that the benchmark uses.
pub const KINDS: [Kind; 18] = [
    kind("u", 5000, 10, SMALL),
    kind("k", 8, 100, Shape::Text(10 << 10)),
    Kind {
        ends: Ends::Lf,
        ..kind("klf", 8, 100, Shape::Text(10 << 10))
    },
    Kind {
        ends: Ends::CrLf,
        ..kind("kcrlf", 8, 100, Shape::Text(10 << 10))
    },
    kind("kdots", 8, 100, Shape::Dots(10 << 10)),
    kind("m", 8, 10, Shape::Mime(1 << 20)),
    kind("b", 2, 4, Shape::Mime(10 << 20)),
    kind("n10", 2, 10, SMALL),
    kind("n100", 2, 100, SMALL),
    kind("n1000", 2, 1000, SMALL),
    kind("n10000", 2, 10_000, SMALL),
    kind("n100000", 2, 100_000, SMALL),
    kind("z1k", 1, 8, Shape::Mime(1 << 10)),
    kind("z10k", 1, 8, Shape::Mime(10 << 10)),
    kind("z100k", 1, 8, Shape::Mime(100 << 10)),
    kind("z1m", 1, 8, Shape::Mime(1 << 20)),
    kind("z10m", 1, 4, Shape::Mime(10 << 20)),
    kind("z100m", 1, 2, Shape::Mime(100 << 20)),
];

impl Kind {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Name of the user, and of the mailbox, number `i`.
    pub fn user(&self, i: usize) -> String {
        format!("{}-{i}", self.name)
    }

    /// The stored bytes of message `index` (from 0), the same in all mailboxes of the kind.
    pub fn message(&self, index: usize) -> Vec<u8> {
        corpus::stored(self.shape, self.ends, index % UNIQUE)
    }

    fn unique(&self) -> usize {
        self.messages.min(UNIQUE)
    }

    /// First line of the manifest: changes whenever the files would.
    fn version(&self) -> String {
        format!("layout 1 {self:?}")
    }
}

/// What a server must send for every message of a mailbox.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// By message number, from 0.
    pub messages: Vec<Wanted>,
    /// LIST's reply after the status line, terminator included.
    pub list: Expected,
    /// Octets of the whole mailbox, as STAT announces them.
    pub octets: u64,
}

impl Manifest {
    fn new(unique: &[Wanted], messages: usize) -> Self {
        let messages: Vec<Wanted> = unique.iter().cycle().take(messages).cloned().collect();
        let list = Expected::of(&listing(messages.iter().map(|wanted| wanted.octets)));
        let octets = messages.iter().map(|wanted| wanted.octets).sum();
        Self {
            messages,
            list,
            octets,
        }
    }

    /// Reads the manifest that [`build`] left in `root`.
    ///
    /// # Errors
    /// It is not there, or was written for other mailboxes.
    pub fn read(root: &Path, kind: &Kind) -> io::Result<Self> {
        let text = fs::read_to_string(path_of(root, kind))?;
        let stale =
            || io::Error::other(format!("manifest of {} is not of this version", kind.name));
        let mut lines = text.lines();
        if lines.next() != Some(&kind.version()) {
            return Err(stale());
        }
        let unique: Option<Vec<Wanted>> = lines.map(parse_line).collect();
        match unique {
            Some(unique) if unique.len() == kind.unique() => Ok(Self::new(&unique, kind.messages)),
            _ => Err(stale()),
        }
    }
}

/// The lines of LIST for messages of these sizes, and the terminator.
pub fn listing(octets: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, octets) in octets.enumerate() {
        out.extend_from_slice(format!("{} {octets}\r\n", index + 1).as_bytes());
    }
    out.extend_from_slice(b".\r\n");
    out
}

fn path_of(root: &Path, kind: &Kind) -> PathBuf {
    root.join(format!("{}.manifest", kind.name))
}

fn parse_line(line: &str) -> Option<Wanted> {
    let mut numbers = line.split(' ').map(|number| number.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    Some(Wanted {
        octets: next()?,
        whole: Expected {
            len: next()?,
            digest: next()?,
        },
        top: Expected {
            len: next()?,
            digest: next()?,
        },
    })
}

/// Makes the mailboxes of `kind` below `root`, unless they are there:
/// `dbox/USER/NNNNNN`, `maildir/USER/cur/…` and, for Dovecot alone, `dovecot/USER/cur/…`.
///
/// # Errors
/// The file system's.
pub fn build(root: &Path, kind: &Kind) -> io::Result<()> {
    if Manifest::read(root, kind).is_ok() {
        return Ok(());
    }
    let store = root.join("store").join(kind.name);
    for tree in ["dbox", "maildir", "dovecot"] {
        for user in 0..kind.users {
            remove(&root.join(tree).join(kind.user(user)))?;
        }
    }
    remove(&store)?;
    fs::create_dir_all(&store)?;
    let mut manifest = kind.version();
    let mut names = Vec::new();
    for index in 0..kind.unique() {
        let stored = kind.message(index);
        let wanted = corpus::wanted(&stored);
        fs::write(store.join(index.to_string()), &stored)?;
        names.push(format!("bench,S={},W={}:2,S", stored.len(), wanted.octets));
        manifest.push_str(&format!(
            "\n{} {} {} {} {}",
            wanted.octets, wanted.whole.len, wanted.whole.digest, wanted.top.len, wanted.top.digest
        ));
    }
    for user in 0..kind.users {
        fill(root, kind, &kind.user(user), &store, &names)?;
    }
    fs::write(path_of(root, kind), manifest)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn fill(root: &Path, kind: &Kind, user: &str, store: &Path, names: &[String]) -> io::Result<()> {
    let dbox = root.join("dbox").join(user);
    fs::create_dir_all(&dbox)?;
    let maildirs = ["maildir", "dovecot"].map(|tree| root.join(tree).join(user));
    for maildir in &maildirs {
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(maildir.join(part))?;
        }
    }
    for message in 0..kind.messages {
        let file = store.join((message % UNIQUE).to_string());
        fs::hard_link(&file, dbox.join(format!("{:06}", message + 1)))?;
        // Sorted by name they are in the order of their numbers.
        let name = format!("1700000000.M{message:06}P1.{}", names[message % UNIQUE]);
        for maildir in &maildirs {
            fs::hard_link(&file, maildir.join("cur").join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_the_disk_and_says_what_is_there() {
        let root = std::env::temp_dir().join(format!("pop3d-load-{}", std::process::id()));
        let kind = Kind {
            users: 2,
            ..*Kind::named("n1000").unwrap()
        };
        let kind = Kind {
            messages: 1003,
            ..kind
        };
        build(&root, &kind).unwrap();
        let manifest = Manifest::read(&root, &kind).unwrap();
        assert_eq!(manifest.messages.len(), 1003);
        assert_eq!(manifest.messages[0], manifest.messages[1000]);
        assert_eq!(manifest.messages[5], corpus::wanted(&kind.message(5)));
        let dbox = fs::read(root.join("dbox/n1000-1/000006")).unwrap();
        assert_eq!(dbox, kind.message(5));
        assert_eq!(
            fs::read_dir(root.join("maildir/n1000-0/cur"))
                .unwrap()
                .count(),
            1003
        );
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_listing_has_one_line_for_each_message() {
        assert_eq!(listing([12, 5].into_iter()), b"1 12\r\n2 5\r\n.\r\n");
    }
}
