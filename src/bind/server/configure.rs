//! `cget` and `configure`.

use std::rc::Rc;

use super::certificates::FILES;
use super::{ServerObject, State};
use crate::bind::log;
use crate::ffi::command::Error;
use crate::ffi::Value;

impl ServerObject {
    pub(super) fn cget(&self, name: &str) -> Result<Value, Error> {
        let mut options = self.options.borrow_mut();
        Ok(match name {
            "-state" => Value::text(self.state.get().name()),
            "-port" => self.true_port.borrow().clone(),
            "-auth" => options.auth.clone(),
            "-storage" => options.storage.clone(),
            "-socket" => options.socket.clone(),
            _ => match options.get(name) {
                Some(value) => value,
                None => {
                    let known = "\"-state\", \"-port\", \"-auth\", \"-socket\", or \"-storage\"";
                    return Err(unknown_option(name, known));
                }
            },
        })
    }

    pub(super) fn configure(self: &Rc<Self>, args: &[Value]) -> Result<Value, Error> {
        match args {
            [] => {
                let names = ["-port", "-auth", "-storage", "-socket", "-state"];
                let mut pairs = Vec::new();
                for name in names {
                    pairs.push((name, self.cget(name)?));
                }
                return Ok(Value::dict(pairs));
            }
            [name] => return self.cget(&name.to_text()),
            _ if args.len() % 2 == 1 => {
                let message = "wrong # args, expected: -option | (-option value)...";
                return Err(Error::new(message, &["WRONGARGS"]));
            }
            _ => {}
        }
        // Options before a bad one stay set.
        let mut outcome = args
            .chunks_exact(2)
            .try_for_each(|pair| self.set(&pair[0].to_text(), &pair[1]));
        let names_files = |pair: &[Value]| FILES.contains(&&*pair[0].to_text());
        if outcome.is_ok() && args.chunks_exact(2).any(names_files) {
            outcome = self.configure_tls();
        }
        if outcome.is_ok() && self.state.get() == State::Up {
            outcome = self.check_tls().and_then(|()| self.check_listener());
        }
        self.refresh_direct();
        self.watched.set(self.options.borrow().watched_events());
        if self.state.get() == State::Up {
            self.configure_engine();
        }
        log::refresh(&self.world);
        self.publish();
        outcome.map(|()| Value::text(""))
    }

    fn refresh_direct(&self) {
        let options = self.options.borrow();
        let (auth, storage) = (options.auth.clone(), options.storage.clone());
        let direct = options.direct;
        drop(options);
        self.direct.refresh(&self.world, &auth, &storage, direct);
    }

    fn set(&self, name: &str, value: &Value) -> Result<(), Error> {
        let mut options = self.options.borrow_mut();
        match name {
            "-auth" => options.auth = value.clone(),
            "-storage" => {
                options.storage = value.clone();
                self.uidl.set(None);
                let number = self.storage_number.get();
                self.storage_number.set(number.wrapping_add(1));
            }
            "-socket" => options.socket = value.clone(),
            "-port" => {
                options.port = value.clone();
                if self.state.get() == State::Down {
                    *self.true_port.borrow_mut() = value.clone();
                }
            }
            "-state" => return Err(Error::new("Option -state is read-only", &["OPTION", name])),
            _ => {
                if !options.set(name, value)? {
                    let known = "\"-port\", \"-auth\", \"-socket\", or \"-storage\"";
                    return Err(unknown_option(name, known));
                }
                if name == "-uidl" {
                    self.uidl.set(None);
                }
            }
        }
        Ok(())
    }
}

fn unknown_option(name: &str, known: &str) -> Error {
    let message = format!("Unknown option \"{name}\": Expected {known}");
    let error = Error::new(message, &["OPTION", name]);
    error.with_note("there are also those that the method \"options\" tells")
}
