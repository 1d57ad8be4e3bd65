//! The locks of this room: the standard library's. The models (`make models`) replace them
//! by the model checker's, which tries every order in which threads can take them.

#[cfg(all(test, feature = "model"))]
pub(super) use super::models::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, feature = "model")))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
