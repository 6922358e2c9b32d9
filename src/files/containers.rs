//! Tensors of files that are not safetensors, in the form of [`Contents`](super::format::Contents).

use std::borrow::Cow;
use std::collections::BTreeMap;

#[cfg(any(feature = "keras", feature = "numpy"))]
use safetensors::tensor::Dtype;
use safetensors::tensor::TensorInfo;

#[cfg(feature = "keras")]
use crate::hdf5;

/// Tensors by their names: type and shape, and the little-endian bytes.
pub(super) type Tensors<'a> = BTreeMap<String, (TensorInfo, Cow<'a, [u8]>)>;

/// A format other than safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Npz,
    Hdf5,
    /// A `.keras` file: a zip archive with an HDF5 file.
    Keras,
}

/// The format of a file that begins with these bytes, if its feature is on.
fn container(start: &[u8]) -> Option<Container> {
    match super::foreign::first_in_zip(start) {
        Some(name) if cfg!(feature = "numpy") && name.ends_with(b".npy") => Some(Container::Npz),
        Some(b"metadata.json" | b"config.json" | b"model.weights.h5") if cfg!(feature = "keras") => {
            Some(Container::Keras)
        }
        None if cfg!(feature = "keras") && start.starts_with(b"\x89HDF\r\n\x1a\n") => Some(Container::Hdf5),
        _ => None,
    }
}

/// Whether [`tensors`] reads the format of these bytes: the start of a file.
pub(super) fn is_read(start: &[u8]) -> bool {
    container(start).is_some()
}

/// The tensors of a file of weights of a format other than safetensors. `None` if the bytes are of no such format, or
/// of one whose feature is off.
pub(super) fn tensors(bytes: &[u8]) -> Option<Result<Tensors<'static>, String>> {
    match container(bytes)? {
        #[cfg(feature = "numpy")]
        Container::Npz => Some(numpy(bytes).map_err(|reason| format!("a NumPy archive (.npz): {reason}"))),
        #[cfg(feature = "keras")]
        Container::Hdf5 => Some(hdf5(bytes).map_err(|reason| format!("an HDF5 file: {reason}"))),
        #[cfg(feature = "keras")]
        Container::Keras => Some(crate::archive::unpack(bytes).and_then(|files| {
            let file = files.into_iter().find(|(name, _)| name == "model.weights.h5");
            hdf5(&file.ok_or("the archive has no model.weights.h5")?.1)
        })),
        #[allow(unreachable_patterns)]
        _ => None,
    }
}

/// Places give the order of the tensors; the bytes are not in the file itself.
#[cfg(any(feature = "keras", feature = "numpy"))]
fn info(dtype: Dtype, shape: Vec<usize>, place: usize) -> TensorInfo {
    TensorInfo { dtype, shape, data_offsets: (place, place) }
}

#[cfg(feature = "numpy")]
fn numpy(bytes: &[u8]) -> Result<Tensors<'static>, String> {
    let arrays = crate::numpy::NumpyArray::parse_npz(bytes)?;
    let tensor = |(place, (name, array)): (usize, (String, crate::numpy::NumpyArray))| {
        (name, (info(array.dtype, array.shape, place), array.bytes.into()))
    };
    Ok(arrays.into_iter().enumerate().map(tensor).collect())
}

/// The arrays of floats in an HDF5 file of Keras, without those of the optimizer. Names are paths, such as
/// `dense/kernel`.
#[cfg(feature = "keras")]
fn hdf5(bytes: &[u8]) -> Result<Tensors<'static>, String> {
    let file = hdf5::File::read(bytes)?;
    let mut tensors = Tensors::new();
    // Links may show the same bytes many times.
    let mut left = bytes.len();
    let mut groups = vec![(String::new(), file.root.group("model_weights").unwrap_or(&file.root))];
    while let Some((path, group)) = groups.pop() {
        let roles = match path.strip_suffix("vars/") {
            Some(_) => roles(group),
            None => &[],
        };
        for (name, object) in &group.members {
            let role = name.parse().ok().and_then(|i: usize| roles.get(i)).unwrap_or(name);
            match object {
                hdf5::Object::Group(_) if path.is_empty() && name.starts_with("optimizer") => {}
                hdf5::Object::Group(inner) => groups.push((format!("{path}{name}/"), inner)),
                hdf5::Object::Array(array) if matches!(array.kind, hdf5::Kind::Float { .. }) => {
                    left = left.checked_sub(array.bytes.len()).ok_or("its groups share arrays")?;
                    let shape = array.shape.iter().map(|&length| length as usize).collect();
                    let bytes: Vec<u8> = array.to_f32()?.iter().flat_map(|number| number.to_le_bytes()).collect();
                    let name = format!("{}{role}", path.replace("layers/", "").replace("vars/", ""));
                    tensors.insert(name, (info(Dtype::F32, shape, tensors.len()), bytes.into()));
                }
                // Counts, and the states of random numbers.
                hdf5::Object::Array(_) => {}
                hdf5::Object::Unknown(reason) => return Err(format!("{path}{name} cannot be read: {reason}")),
            }
        }
    }
    Ok(tensors)
}

/// The names of the numbered weights of a layer, as in `.weights.h5` files.
#[cfg(feature = "keras")]
fn roles(group: &hdf5::Group<'_>) -> &'static [&'static str] {
    let rank = |name: &str| match group.member(name) {
        Some(hdf5::Object::Array(array)) => Some(array.shape.len()),
        _ => None,
    };
    match [rank("0"), rank("1"), rank("2"), rank("3")] {
        [Some(2..), None | Some(1), None, None] => &["kernel", "bias"],
        [Some(1), Some(1), Some(1), Some(1)] => &["gamma", "beta", "moving_mean", "moving_variance"],
        [Some(1), Some(1), None, None] => &["gamma", "beta"],
        [Some(1), None, None, None] => &["scale"],
        _ => &[],
    }
}
