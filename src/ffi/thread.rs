//! What threads of ours do that takes the C library.

/// Blocks every signal in the calling thread, so that a signal meant for the
/// script is never delivered on a thread of ours.
pub fn block_signals() {
    // SAFETY: the set is initialised by sigfillset before it is read; blocking
    // signals changes the calling thread only.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

/// Makes the calling thread a batch thread, which woken does not push aside who runs
/// (SCHED_BATCH, sched(7)), or again one with the usual policy; whether that was done.
///
/// Another policy is the process's owner's choice, and stays. Where system calls are
/// filtered (seccomp(2)) nothing is tried, since the filter may kill for it.
#[cfg(target_os = "linux")]
pub fn be_batch(batch: bool) -> bool {
    let (from, to) = match batch {
        true => (libc::SCHED_OTHER, libc::SCHED_BATCH),
        false => (libc::SCHED_BATCH, libc::SCHED_OTHER),
    };
    // SAFETY: zero names the calling thread, and all that is passed is a priority,
    // initialised, which the system reads.
    unsafe {
        let priority: libc::sched_param = std::mem::zeroed();
        libc::prctl(libc::PR_GET_SECCOMP) == 0
            && libc::sched_getscheduler(0) == from
            && libc::sched_setscheduler(0, to, &priority) == 0
    }
}

/// As above: there are no batch threads here.
#[cfg(not(target_os = "linux"))]
pub fn be_batch(_batch: bool) -> bool {
    false
}
