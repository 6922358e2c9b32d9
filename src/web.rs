//! What a browser gives to a page and to a worker alike: a clock and an event loop.

use wasm_bindgen::prelude::{Closure, JsValue, wasm_bindgen};

use crate::gpu::Signal;

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

/// Milliseconds since some moment.
pub(crate) fn now() -> f64 {
    performance_now().unwrap_or_else(|_| js_sys::Date::now())
}

/// Waits for the next task of the event loop. A promise would not do: its reactions run before the page draws or hears. Nor a
/// timer: browsers make nested ones wait for 4 milliseconds, and those of hidden pages for a second.
pub(crate) async fn next_task() {
    let Ok(channel) = MessageChannel::new() else { return };
    let (come, fulfil) = Signal::new();
    let (to, from) = (channel.port1(), channel.port2());
    to.set_onmessage(&Closure::once_into_js(move || fulfil(())));
    from.post_message(&JsValue::NULL);
    come.await;
    to.close();
}
