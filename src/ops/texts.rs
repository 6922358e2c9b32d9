//! Shader texts. WGSL has no modules, so a kernel's text is a concatenation of files of `shaders/`, in any order.

/// Concatenates files of `shaders/`.
macro_rules! text {
    ($($file:expr),+) => {
        concat!($(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file))),+)
    };
}

pub(crate) use text;
