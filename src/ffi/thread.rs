//! What each thread of ours does first.

/// Leaves signals to the process's own threads, and the processor to whoever runs.
pub fn begin() {
    block_signals();
    #[cfg(target_os = "linux")]
    be_batch();
}

/// Blocks every signal in the calling thread, so that a signal meant for the
/// script is never delivered on a thread of ours.
fn block_signals() {
    // SAFETY: the set is initialised by sigfillset before it is read; blocking
    // signals changes the calling thread only.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

/// SCHED_BATCH (sched(7)): who is woken does not push aside who runs. A client or a
/// script on the same core so goes on to its own end of work, and brings more to do at
/// once. Where the process's owner chose another policy, that stays.
#[cfg(target_os = "linux")]
fn be_batch() {
    // SAFETY: zero names the calling thread, and the only thing passed is a priority,
    // initialised, which the system reads. Refused, all is as it was.
    unsafe {
        if libc::sched_getscheduler(0) == libc::SCHED_OTHER {
            let priority: libc::sched_param = std::mem::zeroed();
            libc::sched_setscheduler(0, libc::SCHED_BATCH, &priority);
        }
    }
}
