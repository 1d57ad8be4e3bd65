//! The fallback package `mime`: the commands of Tcllib's mime that mail stores
//! use, on the model in [`tcl_mime`].
//!
//! A token is the name of an array that exists as long as its part; its element
//! `content` is there for the curious, what counts lies in the store.

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;

use crate::bind::message::bytes_of_token;
use crate::ffi::command::{self, Command, Error};
use crate::ffi::interp;
use crate::ffi::{Interp, Value};
use crate::store::reason::Reason;
use tcl_mime::{
    mime_name, tcl_name, BodyError, Eol, Property, Recipe, RecipeError, Setting, Store,
};

/// Octets that `getbody -command` hands over at a time, if not told otherwise.
const BLOCK: i64 = 4096;

type Run = fn(&Mime, &Interp, &[Value]) -> Result<Value, Error>;

/// Name, arguments and implementation of each command.
const COMMANDS: [(&str, &str, Run); 11] = [
    ("initialize", "?arg ...?", Mime::initialize),
    ("finalize", "token ?arg ...?", Mime::finalize),
    ("getproperty", "token ?property?", Mime::getproperty),
    ("getheader", "token ?key?", Mime::getheader),
    ("setheader", "token key value ?arg ...?", Mime::setheader),
    ("getbody", "token ?arg ...?", Mime::getbody),
    ("copymessage", "token channel", Mime::copymessage),
    ("buildmessage", "token", Mime::buildmessage),
    ("mapencoding", "enc", Mime::mapencoding),
    ("reversemapencoding", "mimeType", Mime::reversemapencoding),
    ("uniqueID", "", Mime::unique_id),
];

/// Makes the commands of the package. Made again after `package forget`, they
/// know the tokens that there are.
pub fn register(interp: &Interp) {
    interp::create_namespace(interp, "::mime");
    let known = command::find(interp, "::mime::initialize").and_then(|command| {
        let command: &dyn std::any::Any = &*command;
        Some(command.downcast_ref::<Mime>()?.store.clone())
    });
    let store = known.unwrap_or_default();
    for (name, usage, run) in COMMANDS {
        let store = store.clone();
        let mime = Mime {
            store,
            name,
            usage,
            run,
        };
        command::create(interp, &format!("::mime::{name}"), Rc::new(mime));
    }
    let names = COMMANDS.map(|(name, ..)| name).join(" ");
    // Nothing in it can fail; an error would only mean that nothing is exported.
    let _ = interp::eval(
        interp,
        &format!("namespace eval ::mime {{namespace export {names}}}"),
    );
}

/// One command of the package.
struct Mime {
    store: Rc<RefCell<Store>>,
    name: &'static str,
    usage: &'static str,
    run: Run,
}

impl Command for Mime {
    fn invoke(&self, interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        (self.run)(self, interp, args)
    }
}

impl Mime {
    fn wrong_args(&self) -> Error {
        let usage = format!("mime::{} {}", self.name, self.usage);
        Error::wrong_args(usage.trim_end())
    }

    fn initialize(&self, interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        let mut recipe = Recipe::new();
        let mut path = None;
        for pair in args.chunks(2) {
            let option = pair[0].to_text();
            let [_, value] = pair else {
                return Err(error(RecipeError::MissingArgument(option)));
            };
            let setting = setting(&option, value).map_err(error)?;
            if matches!(setting, Setting::File(_)) {
                path = value.to_path();
            }
            recipe.add(setting).map_err(error)?;
        }
        let read = |name: &str| {
            let path = path.ok_or_else(|| format!("couldn't open \"{name}\""))?;
            std::fs::read(path).map_err(|e| format!("couldn't open \"{name}\": {}", Reason(&e)))
        };
        let made = self
            .store
            .borrow_mut()
            .initialize(recipe, read)
            .map_err(error)?;
        for token in &made {
            let content = self.store.borrow().property(token, "content");
            let content = content
                .map(from_property)
                .unwrap_or_else(|_| Value::text(""));
            interp::set_var(interp, &format!("{token}(content)"), &content);
        }
        Ok(Value::text(&made[0]))
    }

    fn finalize(&self, interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        let [token, options @ ..] = args else {
            return Err(self.wrong_args());
        };
        let subordinates = option(options, "-subordinates")?;
        let subordinates = subordinates.map_or("dynamic".to_owned(), |value| value.to_text());
        let gone = self
            .store
            .borrow_mut()
            .finalize(&token.to_text(), &subordinates);
        for token in gone.map_err(error)? {
            interp::call(interp, &words(["::unset", "-nocomplain", "--", &token]))?;
        }
        Ok(Value::text(""))
    }

    fn getproperty(&self, _: &Interp, args: &[Value]) -> Result<Value, Error> {
        let (token, name) = self.token_and_key(args)?;
        let store = self.store.borrow();
        match &*name {
            "" => {
                let all = store.properties(&token).map_err(error)?;
                let all = all.into_iter();
                Ok(Value::dict(
                    all.map(|(name, value)| (name, from_property(value))),
                ))
            }
            "-names" => Ok(Value::texts(store.property_names(&token).map_err(error)?)),
            _ => Ok(from_property(store.property(&token, &name).map_err(error)?)),
        }
    }

    fn getheader(&self, _: &Interp, args: &[Value]) -> Result<Value, Error> {
        let (token, key) = self.token_and_key(args)?;
        let store = self.store.borrow();
        match &*key {
            "" => {
                let all = store.header(&token).map_err(error)?;
                Ok(Value::texts(
                    all.into_iter().flat_map(|(name, value)| [name, value]),
                ))
            }
            "-names" => Ok(Value::texts(store.field_names(&token).map_err(error)?)),
            _ => Ok(Value::texts(store.field(&token, &key).map_err(error)?)),
        }
    }

    fn token_and_key(&self, args: &[Value]) -> Result<(String, String), Error> {
        match args {
            [token] => Ok((token.to_text(), String::new())),
            [token, key] => Ok((token.to_text(), key.to_text())),
            _ => Err(self.wrong_args()),
        }
    }

    fn setheader(&self, _: &Interp, args: &[Value]) -> Result<Value, Error> {
        let [token, key, value, options @ ..] = args else {
            return Err(self.wrong_args());
        };
        let mode = option(options, "-mode")?;
        let mode = mode.map_or("write".to_owned(), |mode| mode.to_text());
        let (token, key, value) = (token.to_text(), key.to_text(), value.to_text());
        let before = self
            .store
            .borrow_mut()
            .set_field(&token, &key, &value, &mode);
        Ok(Value::texts(before.map_err(error)?))
    }

    fn getbody(&self, interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        let [token, options @ ..] = args else {
            return Err(self.wrong_args());
        };
        let mut options = options.to_vec();
        let decode = options.iter().position(|value| value.is("-decode"));
        if let Some(place) = decode {
            options.remove(place);
        }
        let block = option(&options, "-blocksize")?.map_or(Some(BLOCK), |value| value.to_int());
        let Some(block) = block.filter(|block| *block > 0) else {
            let given = option(&options, "-blocksize")?.map(|value| value.to_text());
            let given = given.unwrap_or_default();
            return Err(error(format!(
                "-blocksize expects a positive integer, not {given}"
            )));
        };
        let token = token.to_text();
        match option(&options, "-command")? {
            Some(command) => {
                let body = self.store.borrow().body(&token).map_err(error)?;
                let block = usize::try_from(block).unwrap_or(usize::MAX);
                hand_over(interp, &command, body.chunks(block))
            }
            None if decode.is_some() => self.decoded_body(interp, &token),
            None => Ok(Value::bytes(
                &self.store.borrow().body(&token).map_err(error)?,
            )),
        }
    }

    fn decoded_body(&self, interp: &Interp, token: &str) -> Result<Value, Error> {
        let decoded = self.store.borrow().decoded_body(token);
        match decoded {
            Ok(text) => Ok(Value::text(&text)),
            // Tcl has some encodings that mail-parser lacks.
            Err(BodyError::UnknownCharset(charset)) if !tcl_name(&charset).is_empty() => {
                let body = Value::bytes(&self.store.borrow().body(token).map_err(error)?);
                let mut command = words(["::encoding", "convertfrom", tcl_name(&charset)]);
                command.push(body);
                Ok(interp::call(interp, &command)?)
            }
            Err(unknown) => Err(error(unknown)),
        }
    }

    fn copymessage(&self, interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        let [token, channel] = args else {
            return Err(self.wrong_args());
        };
        let message = self
            .store
            .borrow()
            .build(&token.to_text(), Eol::Lf)
            .map_err(error)?;
        let mut put = words(["::puts", "-nonewline"]);
        put.extend([channel.clone(), Value::bytes(&message)]);
        interp::call(interp, &put)?;
        interp::call(interp, &[Value::text("::flush"), channel.clone()])?;
        Ok(Value::text(""))
    }

    fn buildmessage(&self, _: &Interp, args: &[Value]) -> Result<Value, Error> {
        let [token] = args else {
            return Err(self.wrong_args());
        };
        let message = self.store.borrow().build(&token.to_text(), Eol::CrLf);
        Ok(Value::bytes(&message.map_err(error)?))
    }

    fn mapencoding(&self, _: &Interp, args: &[Value]) -> Result<Value, Error> {
        match args {
            [name] => Ok(Value::text(mime_name(&name.to_text()))),
            _ => Err(self.wrong_args()),
        }
    }

    fn reversemapencoding(&self, _: &Interp, args: &[Value]) -> Result<Value, Error> {
        match args {
            [name] => Ok(Value::text(tcl_name(&name.to_text()))),
            _ => Err(self.wrong_args()),
        }
    }

    fn unique_id(&self, _: &Interp, args: &[Value]) -> Result<Value, Error> {
        match args {
            [] => Ok(Value::text(&self.store.borrow_mut().unique_id())),
            _ => Err(self.wrong_args()),
        }
    }
}

fn error(error: impl Display) -> Error {
    Error::new(error.to_string(), &["MIME"])
}

fn words<const N: usize>(words: [&str; N]) -> Vec<Value> {
    words.map(Value::text).to_vec()
}

/// An option of `initialize` with its value.
fn setting(option: &str, value: &Value) -> Result<Setting, RecipeError> {
    let pair = |option| match value.to_list().as_deref() {
        Some([key, value]) => Ok((key.to_text(), value.to_text())),
        _ => Err(RecipeError::NotAPair(option, value.to_text())),
    };
    Ok(match option {
        "-canonical" => Setting::Canonical(value.to_text()),
        "-param" => pair("-param").map(|(key, value)| Setting::Param(key, value))?,
        "-encoding" => Setting::Encoding(value.to_text()),
        "-header" => pair("-header").map(|(key, value)| Setting::Header(key, value))?,
        "-file" => Setting::File(value.to_text()),
        "-string" => Setting::Content(bytes_of_token(value)),
        "-parts" => {
            let tokens = value.to_list().unwrap_or_else(|| vec![value.clone()]);
            Setting::Parts(tokens.iter().map(|token| token.to_text().into()).collect())
        }
        _ => return Err(RecipeError::UnknownOption(option.to_owned())),
    })
}

/// The value of an option among names and values; as with Tcllib, others are
/// not looked at, and of several the last counts.
fn option(options: &[Value], name: &str) -> Result<Option<Value>, Error> {
    if !options.len().is_multiple_of(2) {
        return Err(error("list must have an even number of elements"));
    }
    let mut pairs = options.chunks_exact(2).rev();
    Ok(pairs
        .find(|pair| pair[0].is(name))
        .map(|pair| pair[1].clone()))
}

fn from_property(property: Property) -> Value {
    match property {
        Property::Text(text) => Value::text(&text),
        Property::Params(params) => {
            Value::texts(params.into_iter().flat_map(|(name, value)| [name, value]))
        }
        Property::Parts(parts) => Value::texts(parts),
        Property::Size(size) => Value::int(i64::try_from(size).unwrap_or(i64::MAX)),
    }
}

/// Calls a command prefix with `data` and each piece, then with `end`, whose result
/// is the result; when a call fails, with `error` and the message instead.
fn hand_over<'a>(
    interp: &Interp,
    prefix: &Value,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<Value, Error> {
    let prefix = prefix.to_list();
    let prefix = prefix.ok_or_else(|| error("-command expects a command prefix"))?;
    let call = |more: [Option<Value>; 2]| {
        let mut words = prefix.clone();
        words.extend(more.into_iter().flatten());
        interp::call(interp, &words)
    };
    for piece in pieces {
        if let Err(raised) = call([Some(Value::text("data")), Some(Value::bytes(piece))]) {
            let message = Value::text(&raised.message());
            return Ok(call([Some(Value::text("error")), Some(message)])?);
        }
    }
    Ok(call([Some(Value::text("end")), None])?)
}
