//! Custom activations.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use crate::error::Result;
use crate::expression::{Formula, Twin, check_slope, points};

/// A custom activation: its value and its derivative, as WGSL expressions of its input.
///
/// It works wherever an [`Activation`](super::Activation) works, and it is fused like the others.
///
/// ```
/// use wgrad::{Activation, CustomActivation, Network};
///
/// static SNAKE: CustomActivation = CustomActivation::new("snake", "z + sin(z) * sin(z)", "1.0 + sin(2.0 * z)")
///     .twin(|z| z + z.sin().powi(2), |z| 1.0 + (2.0 * z).sin(), 1e-5);
///
/// let network = Network::input(2).dense(64, Activation::Custom(&SNAKE)).dense(1, Activation::Identity).build()?;
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// An expression consists of the variable `z`, numbers, operators and parentheses. It may call WGSL functions of f32,
/// such as `sin`, `exp` and `select`. It should map NaN to NaN, so that a diverging network is noticed.
///
/// - Building a network checks the names and the expressions. It also compares the derivative in Rust with numerical
///   differences of the value in Rust.
/// - Making a trainer or a model compiles the expressions. An error names the activation.
/// - Files store only the name. Register the activation with `wgrad::custom` before loading.
/// - Two activations are equal if their names and expressions are equal.
pub struct CustomActivation {
    formula: Formula<fn(f64) -> f64>,
    text: OnceLock<String>,
}

impl CustomActivation {
    /// An activation with a name of letters, digits and underscores. `value` and `derivative` are WGSL expressions of
    /// the input `z`.
    pub const fn new(name: &'static str, value: &'static str, derivative: &'static str) -> Self {
        Self { formula: Formula::new(name, value, derivative), text: OnceLock::new() }
    }

    /// Adds the CPU reference: value and derivative as Rust functions of z. Without it, the activation needs a GPU.
    ///
    /// [`Device::Cpu`](crate::Device::Cpu) runs it, and [`lockstep`](crate::lockstep) compares the GPU's results with
    /// it. A result y of the GPU may differ by `share` · max(|y|, 1), plus the effect of the input's own error.
    ///
    /// WGSL allows `sin` and `cos` an error of 2⁻¹¹ between −π and π. It allows `exp(x)` an error of 3 + 2|x| units in
    /// the last place.
    pub const fn twin(mut self, value: fn(f64) -> f64, derivative: fn(f64) -> f64, share: f64) -> Self {
        self.formula.twin = Some(Twin { value, derivative, share });
        self
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.formula.name
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.formula.check("activation", &["z"])?;
        let Some(twin) = self.formula.twin else { return Ok(()) };
        points().try_for_each(|z| {
            let what = format!("derivative in the CPU twin of activation {} at z = {z:.2}", self.name());
            check_slope(&what, twin.value, z, (twin.derivative)(z))
        })
    }

    pub(crate) fn without_twin(&self) -> Option<String> {
        self.formula.without_twin("activation", "CustomActivation::twin")
    }

    /// A hash of name and expressions. It makes names in shader texts unique.
    pub(crate) fn hash(&self) -> u32 {
        let mut hasher = DefaultHasher::new();
        (self.formula.value, self.formula.derivative).hash(&mut hasher);
        hasher.finish() as u32
    }

    /// See [`Activation::text`](super::Activation::text).
    pub(super) fn text(&self) -> &str {
        self.text.get_or_init(|| {
            let of_four = |function: &str, expression: &str| {
                let of = |axis| format!("    {{ let z = input.{axis}; y.{axis} = {expression}; }}\n");
                let each = ["x", "y", "z", "w"].map(of).concat();
                format!("\nfn {function}(input: vec4f) -> vec4f {{\n    var y: vec4f;\n{each}    return y;\n}}\n")
            };
            let Formula { value, derivative, .. } = self.formula;
            [super::functions::SHARED, &of_four("activate", value), &of_four("derivative", derivative)].concat()
        })
    }

    pub(super) fn flops(&self) -> [u64; 2] {
        self.formula.flops()
    }

    /// The value. NaN without a CPU reference: callers check [`without_twin`](Self::without_twin) first.
    pub(super) fn value(&self, z: f64) -> f64 {
        self.formula.twin.map_or(f64::NAN, |twin| (twin.value)(z))
    }

    pub(super) fn derivative(&self, z: f64) -> f64 {
        self.formula.twin.map_or(f64::NAN, |twin| (twin.derivative)(z))
    }

    /// The error bound of a value whose input z has this error.
    pub(super) fn value_bound(&self, z: f64, error: f64) -> f64 {
        let y = self.value(z);
        let moved = [z - error, z + error].map(|z| (self.value(z) - y).abs());
        moved[0].max(moved[1]) + self.formula.bound(y)
    }

    pub(super) fn derivative_bound(&self, z: f64) -> f64 {
        self.formula.bound(self.derivative(z))
    }
}

impl fmt::Debug for CustomActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for CustomActivation {
    fn eq(&self, other: &Self) -> bool {
        self.formula == other.formula
    }
}

#[cfg(feature = "files")]
pub(crate) static REGISTERED: crate::registry::Registry<&CustomActivation> =
    crate::registry::Registry::new("activation", super::elementary);

#[cfg(feature = "files")]
crate::registry::by_name!(CustomActivation, REGISTERED);
