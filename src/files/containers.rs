//! Tensors of files that are not safetensors, in the form of [`Contents`](super::format::Contents).

use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::tensor::TensorInfo;

/// Tensors by their names: type and shape, and the little-endian bytes.
pub(super) type Tensors<'a> = BTreeMap<String, (TensorInfo, Cow<'a, [u8]>)>;

/// The tensors of a file of weights of a format other than safetensors. `None` if the bytes are of no such format, or
/// of one whose feature is off.
pub(super) fn tensors(bytes: &[u8]) -> Option<Result<Tensors<'static>, String>> {
    #[cfg(feature = "numpy")]
    if super::foreign::first_in_zip(bytes).is_some_and(|name| name.ends_with(b".npy")) {
        return Some(numpy(bytes));
    }
    let _ = bytes;
    None
}

/// Whether [`tensors`] reads the format of these bytes: the start of a file.
pub(super) fn is_read(start: &[u8]) -> bool {
    cfg!(feature = "numpy") && super::foreign::first_in_zip(start).is_some_and(|name| name.ends_with(b".npy"))
}

#[cfg(feature = "numpy")]
fn numpy(bytes: &[u8]) -> Result<Tensors<'static>, String> {
    let arrays = crate::numpy::NumpyArray::parse_npz(bytes)?;
    let tensor = |(place, (name, array)): (usize, (String, crate::numpy::NumpyArray))| {
        // Places give the order of the tensors; the bytes are not in the file itself.
        let info = TensorInfo { dtype: array.dtype, shape: array.shape, data_offsets: (place, place) };
        (name, (info, array.bytes.into()))
    };
    Ok(arrays.into_iter().enumerate().map(tensor).collect())
}
