//! What a process tree costs, from /proc: processor time and memory.

use std::collections::BTreeSet;
use std::fs;

/// One reading of a process tree.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time in seconds, of dead descendants too (their parents
    /// inherit it, so the sum never falls).
    pub cpu: f64,
    /// Resident memory in KiB, shared pages counted once per process.
    pub rss: u64,
    /// Proportional memory in KiB, shared pages divided among their users:
    /// the fair figure for a server of several processes.
    pub pss: u64,
    /// Processes in the tree.
    pub processes: usize,
}

struct Stat {
    pid: u32,
    parent: u32,
    ticks: u64,
    pages: u64,
}

/// Parses /proc/PID/stat; the name in parentheses may hold anything (proc(5)).
fn parse(text: &str) -> Option<Stat> {
    let pid = text.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        pid,
        parent: u32::try_from(number(4)?).ok()?,
        ticks: number(14)? + number(15)? + number(16)? + number(17)?,
        pages: number(24)?,
    })
}

fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .filter_map(|entry| parse(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect()
}

fn pss(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            line.strip_prefix("Pss:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

/// Reads the trees below `roots`, the roots included. `memory` also asks for
/// the proportional size, which makes the kernel walk all page tables.
pub fn usage(roots: &[u32], memory: bool) -> Usage {
    let stats = all();
    let mut tree: BTreeSet<u32> = roots.iter().copied().collect();
    loop {
        let before = tree.len();
        let children = stats.iter().filter(|stat| tree.contains(&stat.parent));
        let found: Vec<u32> = children.map(|stat| stat.pid).collect();
        tree.extend(found);
        if tree.len() == before {
            break;
        }
    }
    let page = rustix::param::page_size() as u64 / 1024;
    let mut sum = Usage::default();
    for stat in stats.iter().filter(|stat| tree.contains(&stat.pid)) {
        sum.cpu += stat.ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        sum.rss += stat.pages * page;
        sum.pss += if memory { pss(stat.pid) } else { 0 };
        sum.processes += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat =
            parse("7 (a) b (c) S 3 7 7 0 -1 0 1 2 3 4 50 60 7 8 20 0 1 0 9 1000 25 0").unwrap();
        assert_eq!(
            (stat.pid, stat.parent, stat.ticks, stat.pages),
            (7, 3, 125, 25)
        );
    }

    #[test]
    fn reads_this_process() {
        let usage = usage(&[std::process::id()], true);
        assert!(usage.rss > 0 && usage.pss > 0 && usage.processes >= 1);
    }
}
