//! Waiting for a socket with a time-out that costs nothing per command.

use std::future::{poll_fn, Future};
use std::io;
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;
use std::task::{ready, Context, Poll, Waker};

use tokio::time::{Instant, Sleep};

/// One timer per connection. A later deadline is only noted; the runtime's timer
/// is set again when it fires early, not with each command.
pub(super) struct Timer<'a> {
    sleep: Pin<&'a mut Sleep>,
    deadline: Option<Instant>,
}

/// What ended a wait.
#[derive(Debug)]
pub(super) enum Woken {
    Ready,
    TimedOut,
    Broken(io::Error),
}

impl<'a> Timer<'a> {
    pub(super) fn new(sleep: Pin<&'a mut Sleep>) -> Self {
        Self {
            sleep,
            deadline: None,
        }
    }

    /// Sets when waits end; none: never.
    pub(super) fn set(&mut self, deadline: Option<std::time::Instant>) {
        self.deadline = deadline.map(Instant::from_std);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        loop {
            if self.sleep.deadline() > deadline {
                self.sleep.as_mut().reset(deadline);
            }
            ready!(self.sleep.as_mut().poll(cx));
            if self.sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// Waits for the deadline.
    pub(super) async fn expired(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// Waits for the socket, or the deadline.
    pub(super) async fn wait(
        &mut self,
        mut socket: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Woken {
        poll_fn(|cx| self.or_timeout(socket(cx), cx)).await
    }

    fn or_timeout(&mut self, socket: Poll<io::Result<()>>, cx: &mut Context<'_>) -> Poll<Woken> {
        match socket {
            Poll::Ready(Ok(())) => Poll::Ready(Woken::Ready),
            Poll::Ready(Err(e)) => Poll::Ready(Woken::Broken(e)),
            Poll::Pending => self.poll(cx).map(|()| Woken::TimedOut),
        }
    }
}

/// Somebody else ends the connection: its driver is to go on, whatever it waits for.
#[derive(Default)]
pub(super) struct EndedOutside {
    /// Said, and not yet noticed by the driver.
    said: AtomicBool,
    /// The driver's task.
    driver: OnceLock<Waker>,
}

impl EndedOutside {
    /// Has the calling task woken. Once is enough: a task has the same waker for ever.
    pub(super) async fn wakes_this_task(&self) {
        poll_fn(|cx| Poll::Ready(self.driver.get_or_init(|| cx.waker().clone()))).await;
    }

    /// Says so. Whatever the driver must know is to be done before.
    pub(super) fn say(&self) {
        self.said.store(true, Ordering::SeqCst);
        if let Some(driver) = self.driver.get() {
            driver.wake_by_ref();
        }
    }

    /// Whether it was said since the last time.
    fn take(&self) -> bool {
        self.said.load(Ordering::SeqCst) && self.said.swap(false, Ordering::SeqCst)
    }

    /// Ends a wait for the socket: what is to be done next says the machine, or the socket.
    pub(super) fn or(&self, socket: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        match socket {
            Poll::Pending if self.take() => Poll::Ready(Ok(())),
            socket => socket,
        }
    }

    /// Waits until it is said.
    pub(super) async fn come(&self) {
        poll_fn(|_| match self.take() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

/// Which of two came first.
pub(super) enum Either<A, B> {
    First(A),
    Second(B),
}

/// Waits for one of two; drops the other. The first is preferred.
pub(super) async fn first<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(a) => Poll::Ready(Either::First(a)),
        Poll::Pending => b.as_mut().poll(cx).map(Either::Second),
    })
    .await
}
