//! Values for several inputs or outputs of a network, given by name: numbers in host memory, or rows in buffers.

use crate::buffer_rows::Rows;
use crate::error::{Error, Result};
use crate::network::{TensorSpec, names};

/// Values for each input or output of a network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Named<'a, T: Clone> {
    /// For the only input or output, without a name.
    One(T),
    Each(Vec<(&'a str, T)>),
    Lent(&'a [(&'a str, T)]),
}

impl<T: Clone> Named<'_, T> {
    /// Returns an error for unknown or repeated names, and if there are several inputs or outputs but no names.
    /// `what` is "input" or "output".
    pub fn check_names(&self, what: &str, specs: &[TensorSpec]) -> Result<()> {
        let each = match self {
            Self::One(_) if specs.len() == 1 => return Ok(()),
            Self::One(_) => {
                let expected = format!("one for each name ({})", names(specs));
                return Err(Error::shape(format!("{what}s"), expected, "one without a name"));
            }
            Self::Each(each) => each,
            Self::Lent(each) => *each,
        };
        for (i, (name, _)) in each.iter().enumerate() {
            if !specs.iter().any(|spec| spec.name == *name) {
                return Err(Error::shape(what, format!("one of {}", names(specs)), format!("{name:?}")));
            }
            if each[..i].iter().any(|(other, _)| other == name) {
                return Err(Error::shape(format!("{what} {name:?}"), "one of this name", "two"));
            }
        }
        Ok(())
    }

    /// As [`check_names`](Self::check_names); also returns an error if an input or output has no value.
    pub fn check(&self, what: &str, specs: &[TensorSpec]) -> Result<()> {
        self.check_names(what, specs)?;
        match specs.iter().find(|spec| self.of(spec).is_none()) {
            None => Ok(()),
            Some(spec) => Err(Error::shape(
                format!("{what}s"),
                format!("one for each of {}", names(specs)),
                format!("none for {}", spec.name),
            )),
        }
    }

    /// The value of an input or output; the names are already checked.
    pub fn of(&self, spec: &TensorSpec) -> Option<&T> {
        match self {
            Self::One(one) => Some(one),
            Self::Each(each) => find(each, spec),
            Self::Lent(each) => find(each, spec),
        }
    }
}

fn find<'a, T>(each: &'a [(&str, T)], spec: &TensorSpec) -> Option<&'a T> {
    each.iter().find(|(name, _)| *name == spec.name).map(|(_, of)| of)
}

/// Rows of features for all inputs of a network, each row-major \[rows, features\].
///
/// For a network with one input: a slice, an array or a `Vec` of f32. For several inputs: an array, a slice or a
/// `Vec` of pairs of name and numbers, in any order. All inputs have the same number of rows.
///
/// ```
/// use wgrad::{Activation::*, Dense, Device, Graph, Model};
/// let mut graph = Graph::new();
/// let (image, age) = (graph.input("image", [2, 2]), graph.input("age", 1));
/// let flat = graph.layer(wgrad::Layer::Flatten, image)?;
/// let both = graph.concat([flat, age], -1)?;
/// let kind = graph.layer(Dense::new(3, Softmax), both)?;
/// let network = graph.build([("kind", kind)])?;
/// let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1))?;
///
/// let (pixels, years) = (vec![0.5; 4], [30.0]);
/// let kinds = model.predict([("age", &years[..]), ("image", &pixels)])?;
/// assert_eq!(kinds.len(), 1);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs<'a>(Named<'a, &'a [f32]>);

impl<'a> Inputs<'a> {
    /// Checks the inputs and returns the number of rows. All must have the same number of whole rows of finite
    /// numbers, at most `most` rows.
    pub(crate) fn rows(&self, specs: &[TensorSpec], most: Option<usize>) -> Result<usize> {
        self.0.check("input", specs)?;
        // For a single input, the error text needs no name.
        let title =
            |spec: &TensorSpec| if specs.len() == 1 { "features".into() } else { format!("input {:?}", spec.name) };
        let mut rows = None;
        for spec in specs {
            let (features, width) = (self.of(spec), spec.features() as usize);
            let own = features.len() / width;
            if !features.len().is_multiple_of(width) || most.is_some_and(|most| own > most) {
                let at_most = most.map_or(String::new(), |most| format!(", at most {most} rows"));
                let expected = format!("whole rows of {width} numbers{at_most}");
                return Err(Error::shape(title(spec), expected, format!("{} numbers", features.len())));
            }
            let (first, expected) = *rows.get_or_insert((&spec.name, own));
            if own != expected {
                let rows = if expected == 1 { "row" } else { "rows" };
                let expected = format!("{expected} {rows} (the number of input {first:?})");
                return Err(Error::shape(title(spec), expected, format!("{own}")));
            }
        }
        for spec in specs {
            check_finite(self.of(spec), spec, specs.len() > 1)?;
        }
        Ok(rows.map_or(0, |(_, rows)| rows))
    }

    /// The numbers of an input; the inputs are already checked.
    pub(crate) fn of(&self, spec: &TensorSpec) -> &'a [f32] {
        self.0.of(spec).copied().unwrap_or_default()
    }
}

/// Returns an error that names the first feature that is not finite.
fn check_finite(features: &[f32], spec: &TensorSpec, several: bool) -> Result<()> {
    let Some(at) = features.iter().position(|feature| !feature.is_finite()) else { return Ok(()) };
    let (width, value) = (spec.features() as usize, features[at]);
    let (row, column) = (at / width, at % width);
    let of_input = if several { format!(" of input {:?}", spec.name) } else { String::new() };
    Err(Error::NonFiniteFeature { row, column, value, of_input })
}

impl<'a> From<&'a [f32]> for Inputs<'a> {
    fn from(features: &'a [f32]) -> Self {
        Self(Named::One(features))
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for Inputs<'a> {
    fn from(features: &'a [f32; N]) -> Self {
        Self(Named::One(features))
    }
}

impl<'a> From<&'a Vec<f32>> for Inputs<'a> {
    fn from(features: &'a Vec<f32>) -> Self {
        Self(Named::One(features))
    }
}

impl<'a> From<&'a [(&'a str, &'a [f32])]> for Inputs<'a> {
    fn from(each: &'a [(&'a str, &'a [f32])]) -> Self {
        Self(Named::Lent(each))
    }
}

impl<'a, V: AsRef<[f32]> + ?Sized, const N: usize> From<[(&'a str, &'a V); N]> for Inputs<'a> {
    fn from(each: [(&'a str, &'a V); N]) -> Self {
        Self(Named::Each(each.into_iter().map(|(name, features)| (name, features.as_ref())).collect()))
    }
}

impl<'a, V: AsRef<[f32]> + ?Sized> From<Vec<(&'a str, &'a V)>> for Inputs<'a> {
    fn from(each: Vec<(&'a str, &'a V)>) -> Self {
        Self(Named::Each(each.into_iter().map(|(name, features)| (name, features.as_ref())).collect()))
    }
}

/// [`Rows`] for all inputs, or all outputs, of a network.
///
/// For a network with one: a buffer, a range of a buffer or [`Rows`]. For several: an array or a `Vec` of pairs of
/// name and rows, in any order.
///
/// ```no_run
/// # fn f(model: &wgrad::Model, image: &wgrad::wgpu::Buffer, ages: &wgrad::wgpu::Buffer, kind: &wgrad::wgpu::Buffer,
/// #      size: &wgrad::wgpu::Buffer) -> wgrad::Result<()> {
/// let forward = model.prepare_forward([("image", image), ("age", ages)], [("kind", kind), ("size", size)], 64)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NamedRows<'a>(Named<'a, Rows<'a>>);

impl<'a> NamedRows<'a> {
    /// The rows of all inputs or outputs, in this order.
    pub(crate) fn all(&self, what: &str, specs: &[TensorSpec]) -> Result<Vec<Rows<'a>>> {
        self.0.check(what, specs)?;
        Ok(specs.iter().filter_map(|spec| self.0.of(spec).copied()).collect())
    }

    /// The rows of the named inputs or outputs, `None` for the others.
    pub(crate) fn some(&self, what: &str, specs: &[TensorSpec]) -> Result<Vec<Option<Rows<'a>>>> {
        self.0.check_names(what, specs)?;
        Ok(specs.iter().map(|spec| self.0.of(spec).copied()).collect())
    }
}

impl<'a, R: Into<Rows<'a>>> From<R> for NamedRows<'a> {
    fn from(rows: R) -> Self {
        Self(Named::One(rows.into()))
    }
}

impl<'a, R: Into<Rows<'a>>, const N: usize> From<[(&'a str, R); N]> for NamedRows<'a> {
    fn from(each: [(&'a str, R); N]) -> Self {
        Self(Named::Each(each.into_iter().map(|(name, rows)| (name, rows.into())).collect()))
    }
}

impl<'a, R: Into<Rows<'a>>> From<Vec<(&'a str, R)>> for NamedRows<'a> {
    fn from(each: Vec<(&'a str, R)>) -> Self {
        Self(Named::Each(each.into_iter().map(|(name, rows)| (name, rows.into())).collect()))
    }
}
