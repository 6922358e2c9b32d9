//! WGSL has no modules: a kernel's text is whole files of `shaders/`, one after the other, in any order.

/// The text of files of `shaders/`.
macro_rules! text {
    ($($file:expr),+) => {
        concat!($(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file))),+)
    };
}

pub(crate) use text;
