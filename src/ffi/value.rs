//! Tcl values.

use std::borrow::Cow;
use std::ffi::{c_char, c_int, CStr, OsStr};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use clib::Tcl_Obj;

use super::{stubs, Interp};
use crate::text::Table;

const OK: c_int = clib::TCL_OK as c_int;

/// A reference to a Tcl value (Tcl_Obj(3tcl)), counted like any other.
///
/// Values belong to the thread that made them. A slice of them is an array of `Tcl_Obj *`.
#[repr(transparent)]
pub struct Value(NonNull<Tcl_Obj>, PhantomData<*mut ()>);

impl Value {
    /// Takes a reference of our own to `obj`.
    ///
    /// # Safety
    /// `obj` is a live value of this thread.
    pub(super) unsafe fn from_raw(obj: *mut Tcl_Obj) -> Self {
        // SAFETY: live, so not null and its count may be raised. The count's low 32
        // bits are at the same place in Tcl 8.6 and 9.
        unsafe {
            (*obj).refCount += 1;
            Self(NonNull::new_unchecked(obj), PhantomData)
        }
    }

    pub(super) fn as_ptr(&self) -> *mut Tcl_Obj {
        self.0.as_ptr()
    }

    /// A string value. NUL and every other character may occur.
    pub fn text(text: &str) -> Self {
        let encoded = encoded(text);
        let length = clamp(encoded.len());
        // SAFETY: pointer and length describe `encoded`, which Tcl copies.
        unsafe { Self::from_raw(clib::Tcl_NewStringObj(encoded.as_ptr().cast(), length)) }
    }

    /// A byte array value.
    pub fn bytes(bytes: &[u8]) -> Self {
        // SAFETY: pointer and length describe `bytes`, which Tcl copies.
        unsafe {
            Self::from_raw(clib::Tcl_NewByteArrayObj(
                bytes.as_ptr(),
                clamp(bytes.len()),
            ))
        }
    }

    /// An integer value.
    pub fn int(n: i64) -> Self {
        // SAFETY: makes a new value.
        unsafe { Self::from_raw(clib::Tcl_NewWideIntObj(n)) }
    }

    /// A list value.
    pub fn list<'a>(items: impl IntoIterator<Item = &'a Value>) -> Self {
        let items: Vec<_> = items.into_iter().map(Value::as_ptr).collect();
        // SAFETY: Tcl copies the array and counts its own references.
        unsafe { Self::from_raw(clib::Tcl_NewListObj(clamp(items.len()), items.as_ptr())) }
    }

    /// A list of strings.
    pub fn texts<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Self {
        let items: Vec<_> = items.into_iter().map(|s| Self::text(s.as_ref())).collect();
        Self::list(&items)
    }

    /// A list of keys and values, as a dictionary is written.
    pub fn dict<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let items: Vec<_> = pairs
            .into_iter()
            .flat_map(|(key, value)| [Self::text(key), value])
            .collect();
        Self::list(&items)
    }

    /// The string representation as Tcl keeps it: UTF-8, but NUL as C0 80 and
    /// possibly lone surrogates.
    pub(super) fn raw_text(&self) -> &[u8] {
        // SAFETY: a live value. Its string stays while nobody changes the value, and
        // no function of ours does so while `self` is borrowed here.
        unsafe {
            let (bytes, length) = stubs::string_of(self.as_ptr());
            std::slice::from_raw_parts(bytes, length)
        }
    }

    /// The string. What is no Unicode text (a lone surrogate) becomes U+FFFD.
    pub fn to_text(&self) -> String {
        from_tcl_utf8(self.raw_text())
    }

    /// Whether the string is empty.
    pub fn is_empty(&self) -> bool {
        self.raw_text().is_empty()
    }

    /// Whether the string is `text`.
    pub fn is(&self, text: &str) -> bool {
        self.raw_text() == text.as_bytes()
    }

    /// The bytes: of a byte array, or of a string whose characters are all below 256;
    /// none of any other string.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        if self.is_pure_byte_array() {
            // SAFETY: a byte array without a string gives its own bytes and changes
            // nothing; they are copied at once.
            return Some(unsafe {
                let (bytes, length) = stubs::bytes_of(self.as_ptr());
                std::slice::from_raw_parts(bytes, length).to_vec()
            });
        }
        if self.raw_text().is_ascii() {
            return Some(self.raw_text().to_vec());
        }
        let text = self.to_text();
        text.chars()
            .map(|c| u8::try_from(u32::from(c)).ok())
            .collect()
    }

    fn is_pure_byte_array(&self) -> bool {
        // SAFETY: a live value; type names are static C strings.
        unsafe {
            let obj = self.0.as_ref();
            obj.bytes.is_null()
                && !obj.typePtr.is_null()
                && CStr::from_ptr((*obj.typePtr).name) == c"bytearray"
        }
    }

    /// The integer, if it is one.
    pub fn to_int(&self) -> Option<i64> {
        let mut n = 0;
        // SAFETY: a null interpreter means that no message is wanted.
        let code = unsafe { clib::Tcl_GetWideIntFromObj(ptr::null_mut(), self.as_ptr(), &mut n) };
        (code == OK).then_some(n)
    }

    /// The boolean, if it is one (Tcl_GetBoolean(3tcl)).
    pub fn to_bool(&self) -> Option<bool> {
        let mut b = 0;
        // SAFETY: as in `to_int`.
        let code = unsafe { clib::Tcl_GetBooleanFromObj(ptr::null_mut(), self.as_ptr(), &mut b) };
        (code == OK).then_some(b != 0)
    }

    /// The elements, if it is a list.
    pub fn to_list(&self) -> Option<Vec<Value>> {
        let (mut count, mut items) = (0, ptr::null_mut());
        // SAFETY: Tcl gives an array that lives as long as the list's internal
        // representation; each element gets a reference of ours at once.
        unsafe {
            let list = self.as_ptr();
            if clib::Tcl_ListObjGetElements(ptr::null_mut(), list, &mut count, &mut items) != OK {
                return None;
            }
            let element = |i| Self::from_raw(*items.add(i));
            Some((0..count.max(0) as usize).map(element).collect())
        }
    }

    /// An element of a dictionary.
    pub fn dict_get(&self, key: &str) -> Option<Value> {
        let key = Self::text(key);
        let mut found = ptr::null_mut();
        // SAFETY: live values; a null interpreter means that no message is wanted.
        unsafe {
            let dict = self.as_ptr();
            let code = clib::Tcl_DictObjGet(ptr::null_mut(), dict, key.as_ptr(), &mut found);
            (code == OK && !found.is_null()).then(|| Self::from_raw(found))
        }
    }

    /// The native path of the file that the value names (Tcl_FSGetNativePath(3tcl)).
    pub fn to_path(&self) -> Option<PathBuf> {
        // SAFETY: a live value; the path that it caches is copied at once.
        unsafe {
            let native = clib::Tcl_FSGetNativePath(self.as_ptr()).cast::<c_char>();
            let bytes = (!native.is_null()).then(|| CStr::from_ptr(native).to_bytes())?;
            Some(OsStr::from_bytes(bytes).into())
        }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        // SAFETY: our own reference keeps it live.
        unsafe { Self::from_raw(self.as_ptr()) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: gives back the reference taken in `from_raw`; the last one frees
        // (Tcl_DecrRefCount in tcl.h).
        unsafe {
            let obj = self.as_ptr();
            (*obj).refCount -= 1;
            if (*obj).refCount <= 0 {
                clib::TclFreeObj(obj);
            }
        }
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the content: a value may be a password or a whole message.
        f.write_str("Value")
    }
}

/// The value that an interpreter's last command left.
pub fn result(interp: &Interp) -> Value {
    // SAFETY: an interpreter always has a result.
    unsafe { Value::from_raw(clib::Tcl_GetObjResult(interp.as_ptr())) }
}

/// A length as Tcl's C interface takes it; nothing we pass comes near 2 GiB.
fn clamp(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

/// Whether this Tcl keeps characters above U+FFFF as surrogate pairs, as 8.6 does
/// unless it was built otherwise.
static PAIRS: AtomicBool = AtomicBool::new(false);

/// Looks how this Tcl keeps characters above U+FFFF: one that is written otherwise
/// is another character to it.
pub(super) fn learn_text(interp: &Interp) {
    let words = ["::encoding", "convertfrom", "utf-8"].map(Value::text);
    let emoji = Value::bytes("\u{1F600}".as_bytes());
    let kept = super::interp::call(interp, &[&words[..], &[emoji]].concat());
    let pairs = kept.is_ok_and(|kept| kept.raw_text() == to_tcl_utf8("\u{1F600}", true).as_ref());
    PAIRS.store(pairs, Ordering::Relaxed);
}

/// Tells [`text`](crate::text) what the system encoding is now.
pub fn learn_system_encoding(interp: &Interp) {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let words = ["::encoding", "system"].map(Value::text);
    let Ok(name) = super::interp::call(interp, &words) else {
        return;
    };
    let words = ["::encoding", "convertfrom"].map(Value::text);
    let words = [&words[..], &[name.clone(), Value::bytes(&all)]].concat();
    // An encoding of more bytes for a character refuses them, or makes less of them.
    let read = super::interp::call(interp, &words).map(|read| read.to_text());
    let table: Option<Vec<char>> = read.ok().map(|read| read.chars().collect());
    let table = table.and_then(|table| Table::try_from(table).ok());
    let table = table.filter(|table| !name.is("utf-8") && table[..128].iter().all(char::is_ascii));
    crate::text::set_system_encoding(table.map(Arc::new));
}

/// UTF-8 as this Tcl keeps it.
pub(super) fn encoded(text: &str) -> Cow<'_, [u8]> {
    to_tcl_utf8(text, PAIRS.load(Ordering::Relaxed))
}

/// UTF-8 as Tcl keeps it: NUL as C0 80 and, with `pairs`, what is above U+FFFF as
/// two surrogates of three bytes each.
fn to_tcl_utf8(text: &str, pairs: bool) -> Cow<'_, [u8]> {
    if !text.bytes().any(|b| b == 0 || (pairs && b >= 0xF0)) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            '\0' => out.extend_from_slice(&[0xC0, 0x80]),
            '\u{10000}'.. if pairs => {
                for &mut unit in char.encode_utf16(&mut [0; 2]) {
                    let low = |shift: u16| 0x80 | (unit >> shift & 0x3F) as u8;
                    out.extend_from_slice(&[0xE0 | (unit >> 12) as u8, low(6), low(0)]);
                }
            }
            _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(out)
}

/// Text from the UTF-8 that Tcl keeps: C0 80 is NUL; surrogate pairs (Tcl 8.6 keeps
/// characters above U+FFFF so) are joined; what is left is replaced.
fn from_tcl_utf8(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut units: Vec<u16> = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let tail = |i: usize| rest.get(i).map_or(0, |b| u32::from(b & 0x3F));
        let (char, width) = match first {
            0x00..=0x7F => (u32::from(first), 1),
            0xC0..=0xDF => (u32::from(first & 0x1F) << 6 | tail(1), 2),
            0xE0..=0xEF => (u32::from(first & 0x0F) << 12 | tail(1) << 6 | tail(2), 3),
            0xF0..=0xF7 => {
                let high = u32::from(first & 7) << 18 | tail(1) << 12;
                (high | tail(2) << 6 | tail(3), 4)
            }
            _ => (0xFFFD, 1),
        };
        match u16::try_from(char) {
            Ok(unit) => units.push(unit),
            Err(_) => {
                let char = char::from_u32(char).unwrap_or(char::REPLACEMENT_CHARACTER);
                units.extend_from_slice(char.encode_utf16(&mut [0; 2]));
            }
        }
        rest = &rest[width.min(rest.len())..];
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_through_tcl_utf8() {
        for text in ["", "abc", "a\0b", "ä€", "\u{1F600}x\0"] {
            assert_eq!(from_tcl_utf8(&to_tcl_utf8(text, false)), text);
            assert_eq!(from_tcl_utf8(&to_tcl_utf8(text, true)), text);
        }
        let pair = to_tcl_utf8("\u{1F600}", true);
        assert_eq!(*pair, *b"\xED\xA0\xBD\xED\xB8\x80");
    }

    #[test]
    fn tcl_utf8_that_is_no_utf8() {
        let table: &[(&[u8], &str)] = &[
            (b"\xC0\x80", "\0"),
            // U+1F600 as the surrogate pair that Tcl 8.6 keeps.
            (b"\xED\xA0\xBD\xED\xB8\x80", "\u{1F600}"),
            (b"\xED\xA0\xBDx", "\u{FFFD}x"),
            (b"\xC0\x80a\xE2\x82", "\0a\u{2080}"),
        ];
        for (bytes, want) in table {
            assert_eq!(&from_tcl_utf8(bytes), want, "{bytes:x?}");
        }
    }
}
