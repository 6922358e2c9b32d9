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

/// The tensors of a file.
pub(super) struct Read {
    pub tensors: Tensors<'static>,
    /// Whether the file states the order of its layers. The places of the tensors give it.
    pub is_ordered: bool,
}

/// A format other than safetensors.
enum Container {
    #[cfg(feature = "numpy")]
    Npz,
    #[cfg(feature = "keras")]
    Hdf5,
    /// A `.keras` file: a zip archive with an HDF5 file.
    #[cfg(feature = "keras")]
    Keras,
}

/// The format of a file that begins with these bytes, if its feature is on.
fn container(start: &[u8]) -> Option<Container> {
    match super::foreign::first_in_zip(start) {
        #[cfg(feature = "numpy")]
        Some(name) if name.ends_with(b".npy") => Some(Container::Npz),
        #[cfg(feature = "keras")]
        Some(b"metadata.json" | b"config.json" | b"model.weights.h5") => Some(Container::Keras),
        #[cfg(feature = "keras")]
        None if start.starts_with(hdf5::SIGNATURE) => Some(Container::Hdf5),
        _ => None,
    }
}

/// Whether [`tensors`] reads the format of these bytes: the start of a file.
pub(super) fn is_read(start: &[u8]) -> bool {
    container(start).is_some()
}

/// The tensors of a file of weights of a format other than safetensors. `None` if the bytes are of no such format, or
/// of one whose feature is off.
pub(super) fn tensors(bytes: &[u8]) -> Option<Result<Read, String>> {
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
    }
}

/// Places give the order of the tensors; the bytes are not in the file itself.
#[cfg(any(feature = "keras", feature = "numpy"))]
fn info(dtype: Dtype, shape: Vec<usize>, place: usize) -> TensorInfo {
    TensorInfo { dtype, shape, data_offsets: (place, place) }
}

#[cfg(feature = "numpy")]
fn numpy(bytes: &[u8]) -> Result<Read, String> {
    let arrays = crate::numpy::NumpyArray::parse_npz(bytes)?;
    let tensor = |(place, (name, array)): (usize, (String, crate::numpy::NumpyArray))| {
        (name, (info(array.dtype, array.shape, place), array.bytes.into()))
    };
    Ok(Read { tensors: arrays.into_iter().enumerate().map(tensor).collect(), is_ordered: false })
}

/// The arrays of floats in an HDF5 file of Keras, without those of the optimizer. Names are paths, such as
/// `dense/kernel`.
#[cfg(feature = "keras")]
fn hdf5(bytes: &[u8]) -> Result<Read, String> {
    let file = hdf5::File::read(bytes)?;
    let top = file.root.group("model_weights").unwrap_or(&file.root);
    let written = written(&file, top)?;
    let mut tensors = Tensors::new();
    // Links may show the same bytes many times.
    let mut left = bytes.len();
    // Each with its path, and the start of its tensors' names.
    let mut groups = vec![(String::new(), String::new(), top)];
    while let Some((path, start, group)) = groups.pop() {
        let roles = if path.rsplit('/').nth(1) == Some("vars") { roles(group) } else { &[] };
        for (name, object) in &group.members {
            let role = name.parse().ok().and_then(|i: usize| roles.get(i)).unwrap_or(name);
            match object {
                hdf5::Object::Group(_) if path.is_empty() && name.starts_with("optimizer") => {}
                hdf5::Object::Group(inner) => {
                    // Keras 3 groups the layers of a model and the weights of a layer.
                    let is_named = written.is_some() || !matches!(*name, "layers" | "vars");
                    let start = if is_named { format!("{start}{name}/") } else { start.clone() };
                    groups.push((format!("{path}{name}/"), start, inner));
                }
                hdf5::Object::Array(array) if matches!(array.kind, hdf5::Kind::Float { .. }) => {
                    left = left.checked_sub(array.bytes.len()).ok_or("its groups share arrays")?;
                    let shape = array.shape.iter().map(|&length| length as usize).collect();
                    let bytes: Vec<u8> = array.to_f32()?.iter().flat_map(|number| number.to_le_bytes()).collect();
                    let place = written.as_ref().and_then(|places| places.get(&format!("{path}{name}")));
                    let tensor = (info(Dtype::F32, shape, place.copied().unwrap_or(usize::MAX)), bytes.into());
                    let own = format!("{start}{role}");
                    if tensors.insert(own.clone(), tensor).is_some() {
                        return Err(format!("{path}{name}: another array has the name {own} too"));
                    }
                }
                hdf5::Object::Array(hdf5::Array { kind: hdf5::Kind::Other(hdf5::BFLOAT16, _), .. }) => {
                    return Err(format!("{path}{name}: expected f16, f32 or f64, got {}", hdf5::BFLOAT16));
                }
                // Counts, and the states of random numbers.
                hdf5::Object::Array(_) => {}
                hdf5::Object::Unknown(reason) => return Err(format!("{path}{name} cannot be read: {reason}")),
            }
        }
    }
    let is_ordered = tensors.values().all(|(info, _)| info.data_offsets.0 != usize::MAX);
    if !is_ordered {
        // By name, as in files that were sorted.
        tensors.values_mut().enumerate().for_each(|(place, (info, _))| info.data_offsets = (place, place));
    }
    Ok(Read { tensors, is_ordered })
}

/// The place of each array in the order of the network, by its path. `None` if the file does not list its layers: it
/// has numbered weights, and its groups are in the order of their names.
#[cfg(feature = "keras")]
fn written(file: &hdf5::File<'_>, top: &hdf5::Group<'_>) -> Result<Option<BTreeMap<String, usize>>, String> {
    let Some(layers) = file.list(top, "layer_names")? else { return Ok(None) };
    let mut places = BTreeMap::new();
    for layer in layers {
        let Some(hdf5::Object::Group(group)) = top.member(&layer) else { continue };
        for weight in file.list(group, "weight_names")?.unwrap_or_default() {
            let place = places.len();
            places.entry(format!("{layer}/{weight}")).or_insert(place);
        }
    }
    Ok(Some(places))
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
