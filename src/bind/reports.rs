//! What goes to `interp bgerror`, within bounds: a client that provokes a thousand
//! failures must keep neither the interpreter busy with them nor its user.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::object::Identity;
use crate::ffi::interp::Raised;
use crate::ffi::notifier::Timer;
use crate::ffi::Interp;

/// Errors that are reported within a [`PERIOD`]: more than a mistake of a few sessions
/// makes. Others are counted.
const MOST: u32 = 50;

/// From the first report to the one that says how many were withheld, in milliseconds.
const PERIOD: u32 = 1000;

/// The reports of one server.
pub struct Reports(Rc<Period>);

struct Period {
    interp: Interp,
    server: String,
    made: Cell<u32>,
    withheld: Cell<u32>,
    /// Its end; none while nothing was reported.
    end: RefCell<Option<Timer>>,
}

impl Reports {
    /// None yet.
    pub fn new(server: &Identity) -> Self {
        Self(Rc::new(Period {
            interp: server.interp.clone(),
            server: server.name.clone(),
            made: Cell::new(0),
            withheld: Cell::new(0),
            end: RefCell::new(None),
        }))
    }

    /// Hands an error to `interp bgerror`, or counts it when there were many just now.
    pub fn report(&self, raised: &Raised) {
        self.0.report(raised);
    }

    /// Says at once how many were withheld, for the end of the server.
    pub fn end(&self) {
        self.0.begin_next();
        self.0.end.take();
    }
}

impl Period {
    fn report(self: &Rc<Self>, raised: &Raised) {
        if self.made.get() >= MOST {
            self.withheld.set(self.withheld.get().saturating_add(1));
            return;
        }
        if self.made.replace(self.made.get() + 1) == 0 {
            let this = Rc::downgrade(self);
            let end = move || {
                if let Some(this) = this.upgrade() {
                    this.begin_next();
                }
            };
            *self.end.borrow_mut() = Some(Timer::after(PERIOD, Box::new(end)));
        }
        raised.report_in_background(&self.interp);
    }

    /// Ends this period and, if errors were withheld, begins the next by saying so.
    fn begin_next(self: &Rc<Self>) {
        self.end.take();
        self.made.set(0);
        let withheld = self.withheld.take();
        if withheld > 0 {
            let message = format!("pop3d {}: {withheld} more errors", self.server);
            self.report(&Raised::new(&message, &["POP3D", "LOG"]));
        }
    }
}
