//! Three pages for browsers: `index.html` learns a picture, `digits.html` trains the network of the digits, in the page or in
//! a worker, and `doctor.html` compares every kernel with its CPU twin. `docs/browser.md` says how to build them, and how to
//! make a page of one's own.

#[path = "../../../tests/cases/mod.rs"]
mod cases;
#[path = "../../../tests/common/inputs.rs"]
mod common;
mod digits;
mod doctor;
mod painter;

use wasm_bindgen::prelude::*;

/// What JavaScript catches: an `Error` whose `code` a page can branch on, as messages are for people.
fn thrown(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    // Only a frozen object would refuse.
    drop(js_sys::Reflect::set(&error, &"code".into(), &code.into()));
    error.into()
}

/// As [`thrown`], of an error of wgrad's.
fn of(error: wgrad::Error) -> JsValue {
    thrown(error.code(), &error.to_string())
}

/// For a call that comes while another one runs.
fn busy(what: &str) -> JsValue {
    thrown("Busy", &format!("{what} is at work: wait for the promise of the call before"))
}
