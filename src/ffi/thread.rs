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
