//! Browser functions for pages and workers: a clock and the event loop.

use wasm_bindgen::prelude::{Closure, JsValue, wasm_bindgen};

use crate::callback_future::CallbackFuture;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(catch, js_namespace = performance, js_name = now)]
    fn performance_now() -> Result<f64, JsValue>;

    type MessageChannel;
    #[wasm_bindgen(catch, constructor)]
    fn new() -> Result<MessageChannel, JsValue>;
    #[wasm_bindgen(method, getter)]
    fn port1(this: &MessageChannel) -> MessagePort;
    #[wasm_bindgen(method, getter)]
    fn port2(this: &MessageChannel) -> MessagePort;

    type MessagePort;
    #[wasm_bindgen(method, setter)]
    fn set_onmessage(this: &MessagePort, called: &JsValue);
    #[wasm_bindgen(method, js_name = postMessage)]
    fn post_message(this: &MessagePort, message: &JsValue);
    #[wasm_bindgen(method)]
    fn close(this: &MessagePort);
}

/// Milliseconds since a fixed moment.
pub(crate) fn now() -> f64 {
    performance_now().unwrap_or_else(|_| js_sys::Date::now())
}

/// Waits for the next task of the event loop.
///
/// It uses neither a promise nor a timer. Reactions of promises run before the page draws or handles input. Browsers
/// delay nested timers by 4 milliseconds, and timers of hidden pages by a second.
pub(crate) async fn next_task() {
    let Ok(channel) = MessageChannel::new() else { return };
    let (come, fulfil) = CallbackFuture::new();
    let (to, from) = (channel.port1(), channel.port2());
    to.set_onmessage(&Closure::once_into_js(move || fulfil(())));
    from.post_message(&JsValue::NULL);
    come.await;
    to.close();
}

/// The reason why a browser has no adapter, as text for a visitor of the page.
pub(crate) fn why_no_adapter() -> &'static str {
    let get = |object: &JsValue, name: &str| js_sys::Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED);
    let global = js_sys::global();
    if get(&global, "isSecureContext").is_falsy() {
        return "This page came over an unprotected connection (http), where browsers do not let it use the graphics \
                processor. Open it by an address that begins with https.";
    }
    if get(&get(&global, "navigator"), "gpu").is_falsy() {
        return "This browser cannot use the graphics processor for computation (it has no WebGPU, or it is switched off). \
                A current Chrome, Edge, Firefox or Safari may.";
    }
    "This browser has WebGPU, but found no graphics processor to use it on. Its driver may be missing, too old or blocked; \
     on Linux, WebGPU may have to be switched on in the browser's settings."
}
