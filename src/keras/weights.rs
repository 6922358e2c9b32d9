//! Where the numbers of each layer are in the HDF5 file.

use std::cell::Cell;
use std::collections::HashMap;

use super::Result;
use super::config::{ModelSpec, is_model};
use crate::hdf5::{Array, BFLOAT16, File, Group, Kind, Object};

/// The weights of a file.
pub struct Weights<'a> {
    file: &'a File<'a>,
    group: &'a Group<'a>,
    /// Whether each layer's group has an attribute with the names of its weights, as in `.h5` files of whole models.
    /// Otherwise a layer's weights are numbered, in groups of layers as in `.weights.h5`.
    is_legacy: bool,
    /// Bytes of weights that the first calls of layers may still read. Links may show the same bytes to many layers.
    left: Cell<u64>,
    /// The same for later calls, which only check the weights.
    left_to_check: Cell<u64>,
}

/// The later calls of shared layers may read this many times the bytes of the file.
const MOST_CHECKS: u64 = 256;

/// The weights of a model within the file.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// A group with groups of layers.
    Group(&'a Group<'a>),
    /// The layers of an inner model in a `.h5` file: the group of the outermost one.
    Inner(&'a Group<'a>),
    Missing,
}

/// A weight of a layer: its name in the file, its shape and its numbers.
pub struct Weight {
    pub name: String,
    pub shape: Vec<u32>,
    pub numbers: Vec<f32>,
}

impl Weight {
    /// Returns an error unless the weight has this shape, and a number for each place.
    pub fn check(&self, shape: &[u32]) -> Result<()> {
        let count = shape.iter().try_fold(1usize, |count, &length| count.checked_mul(length as usize));
        match self.shape == shape && count == Some(self.numbers.len()) {
            true => Ok(()),
            false => Err(format!("weight {}: expected floats of the shape {shape:?}, got {:?}", self.name, self.shape)),
        }
    }
}

impl<'a> Weights<'a> {
    pub fn of(file: &'a File<'a>) -> Result<Self> {
        let group = file.root.group("model_weights").unwrap_or(&file.root);
        let is_legacy = file.list(group, "layer_names")?.is_some();
        let left = Cell::new(file.length());
        let left_to_check = Cell::new(file.length().saturating_mul(MOST_CHECKS));
        Ok(Self { file, group, is_legacy, left, left_to_check })
    }

    pub fn place(&self) -> Place<'a> {
        Place::Group(self.group)
    }

    /// The group of each layer of a model, by the layer's name.
    pub fn groups(&self, place: Place<'a>, model: &ModelSpec<'_>) -> Result<HashMap<String, Place<'a>>> {
        let mut groups = HashMap::new();
        let names = model.layers.iter().map(|layer| layer.name);
        match place {
            Place::Missing => {}
            Place::Inner(_) => groups.extend(names.map(|name| (name.to_owned(), place))),
            Place::Group(group) if self.is_legacy => {
                for layer in &model.layers {
                    if let Some(Object::Group(own)) = group.member(layer.name) {
                        let own = if is_model(layer.class) { Place::Inner(own) } else { Place::Group(own) };
                        groups.insert(layer.name.to_owned(), own);
                    }
                }
            }
            Place::Group(group) => {
                // Keras 3 numbers the layers of each class. It also stores the name, since 3.4.
                let layers = group.group("layers").or_else(|| group.group("_layer_checkpoint_dependencies"));
                let mut of_class: HashMap<String, u32> = HashMap::new();
                for layer in &model.layers {
                    let class = snake_case(layer.class);
                    let count = of_class.entry(class.clone()).or_default();
                    let numbered = if *count == 0 { class } else { format!("{class}_{count}") };
                    *count += 1;
                    if let Some(own) = layers.and_then(|layers| layers.group(&numbered)) {
                        groups.insert(layer.name.to_owned(), Place::Group(own));
                    }
                }
                for member in layers.iter().flat_map(|layers| layers.members.values()) {
                    let Object::Group(own) = member else { continue };
                    let name = match own.group("vars") {
                        Some(vars) => self.file.texts(vars, "name")?.and_then(|names| names.into_iter().next()),
                        None => None,
                    };
                    groups.extend(name.map(|name| (name, Place::Group(own))));
                }
            }
        }
        Ok(groups)
    }

    /// The weights of a layer in their order. `is_first`: this is the layer's first call.
    pub fn layer(&self, place: Place<'a>, layer: &str, is_first: bool) -> Result<Vec<Weight>> {
        let arrays = match place {
            Place::Missing => vec![],
            Place::Group(group) if !self.is_legacy => {
                let vars = group.group("vars");
                let array = |i: usize| Some((i.to_string(), vars?.member(&i.to_string())?));
                (0..).map_while(array).collect()
            }
            Place::Group(group) | Place::Inner(group) => {
                let names = self.file.list(group, "weight_names")?.unwrap_or_default();
                let is_own = |name: &String| {
                    // `inner/dense_1/kernel`, or `dense_1/kernel:0` in Keras 2.
                    matches!(place, Place::Group(_)) || name.rsplit('/').nth(1) == Some(layer)
                };
                let find = |name: String| {
                    let array = group.at(&name).ok_or_else(|| format!("weight {name} is missing in the file"))?;
                    Ok((name, array))
                };
                names.into_iter().filter(is_own).map(find).collect::<Result<_>>()?
            }
        };
        arrays.into_iter().map(|(name, object)| self.weight(name, object, is_first)).collect()
    }

    fn weight(&self, name: String, object: &Object<'_>, is_first: bool) -> Result<Weight> {
        let array: &Array<'_> = match object {
            Object::Array(array) => array,
            Object::Unknown(reason) => return Err(format!("weight {name} cannot be read: {reason}")),
            Object::Group(_) => return Err(format!("weight {name} is a group")),
        };
        let (allowance, reason) = match is_first {
            true => (&self.left, "its layers share arrays of the file"),
            false => (&self.left_to_check, "shared layers are called too many times for a file of this size"),
        };
        let left = allowance.get().checked_sub(array.bytes.len() as u64);
        allowance.set(left.ok_or(reason)?);
        let shape = array.shape.iter().map(|&length| u32::try_from(length).ok()).collect::<Option<Vec<u32>>>();
        let shape = shape.ok_or_else(|| format!("weight {name}: the shape {:?} is too large", array.shape))?;
        let numbers = match array.kind {
            // The number of batches that a Normalization has seen.
            Kind::Other(kind, _) if kind != BFLOAT16 => vec![],
            _ => array.to_f32().map_err(|reason| format!("weight {name}: {reason}"))?,
        };
        Ok(Weight { name, shape, numbers })
    }
}

/// `Conv2DTranspose` becomes `conv2d_transpose`, as in Keras.
fn snake_case(class: &str) -> String {
    let chars: Vec<char> = class.chars().collect();
    let mut text = String::new();
    for (i, c) in chars.iter().enumerate() {
        let is_small = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(char::is_ascii_lowercase);
        if i > 0 && c.is_ascii_uppercase() && (is_small(Some(i + 1)) || is_small(i.checked_sub(1))) {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn classes_are_called_as_in_keras() {
        let known = [
            ("Dense", "dense"),
            ("Conv2D", "conv2d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("BatchNormalization", "batch_normalization"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("ReLU", "re_lu"),
            ("SeparableConv1D", "separable_conv1d"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("ZeroPadding2D", "zero_padding2d"),
            ("UpSampling2D", "up_sampling2d"),
            ("RMSNormalization", "rms_normalization"),
        ];
        for (class, name) in known {
            assert_eq!(super::snake_case(class), name);
        }
    }
}
