//! Three web pages: `index.html` learns an image, `digits.html` trains a network for digits (in the page or in a
//! worker), and `doctor.html` compares every kernel with its CPU reference. `docs/browser.md` says how to build them,
//! and how to write another page.

#[path = "../../../tests/cases/mod.rs"]
mod cases;
#[path = "../../../tests/common/inputs.rs"]
mod common;
mod digits;
mod doctor;
mod painter;

use wasm_bindgen::prelude::*;

/// A JavaScript `Error`. Its `code` is for programs, its message for people.
fn thrown(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    // This fails only for frozen objects.
    drop(js_sys::Reflect::set(&error, &"code".into(), &code.into()));
    error.into()
}

/// The JavaScript error for an error of wgrad.
fn of(error: wgrad::Error) -> JsValue {
    thrown(error.code(), &error.to_string())
}

/// The error of a call during another call.
fn busy(what: &str) -> JsValue {
    thrown("Busy", &format!("{what} is busy: wait for the promise of the earlier call"))
}
