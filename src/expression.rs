//! Custom formulas: WGSL expressions of a value and its derivative, optionally with a CPU reference in Rust.

use crate::accuracy::U;
use crate::error::{Error, Result};

/// A function and its derivative. `F` is the type of the Rust functions, with one argument or two.
pub(crate) struct Formula<F> {
    pub name: &'static str,
    /// WGSL expressions.
    pub value: &'static str,
    pub derivative: &'static str,
    pub twin: Option<Twin<F>>,
}

/// The CPU reference of a formula.
#[derive(Clone, Copy)]
pub(crate) struct Twin<F> {
    pub value: F,
    pub derivative: F,
    /// The error bound of a GPU result y, relative to max(|y|, 1).
    pub share: f64,
}

/// Formulas are equal if their names and WGSL expressions are equal.
impl<F> PartialEq for Formula<F> {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.value, self.derivative) == (other.name, other.value, other.derivative)
    }
}

/// The names that an expression may use beside its variables: functions of f32, conversions and constants of WGSL.
const KNOWN: &str = "abs acos acosh asin asinh atan atan2 atanh ceil clamp cos cosh degrees exp exp2 f32 false floor \
                     fma fract i32 inverseSqrt log log2 max min mix pow radians round saturate select sign sin sinh \
                     smoothstep sqrt step tan tanh true trunc";

fn is_known(word: &str) -> bool {
    KNOWN.split_whitespace().any(|known| known == word)
}

impl<F: Copy> Formula<F> {
    pub const fn new(name: &'static str, value: &'static str, derivative: &'static str) -> Self {
        Self { name, value, derivative, twin: None }
    }

    /// Checks the name and the expressions. `kind` is the kind of formula, for errors.
    pub fn check(&self, kind: &str, variables: &[&str]) -> Result<()> {
        let name = self.name;
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(inside) {
            let expected = "a letter, then letters, digits and underscores";
            return Err(Error::shape(format!("name of a custom {kind}"), expected, format!("{name:?}")));
        }
        for (of, text) in [("", self.value), ("derivative of ", self.derivative)] {
            if let Some(fault) = fault(text, variables) {
                let expected = format!(
                    "an expression of {}, numbers, operators and WGSL functions of f32",
                    variables.join(" and ")
                );
                return Err(Error::shape(format!("{of}{kind} {name}"), expected, format!("{fault} in {text:?}")));
            }
        }
        match self.twin {
            Some(Twin { share, .. }) if !share.is_finite() || share < 0.0 => Err(Error::shape(
                format!("share of the CPU twin of {kind} {name}"),
                "a finite number of at least 0",
                share,
            )),
            _ => Ok(()),
        }
    }

    /// The name of a formula without a CPU reference, for errors.
    pub fn without_twin(&self, kind: &str, twin: &str) -> Option<String> {
        self.twin.is_none().then(|| format!("{kind} {} (see {twin})", self.name))
    }

    /// The error bound of a GPU result, compared with the CPU reference.
    pub fn bound(&self, result: f64) -> f64 {
        let result = result.abs();
        self.twin.map_or(f64::NAN, |twin| twin.share * result.max(1.0)) + result * U
    }

    /// Floating-point operations of the value and of the derivative: operators and calls.
    pub fn flops(&self) -> [u64; 2] {
        [self.value, self.derivative].map(|text| {
            let calls = words(text).filter(|word| is_known(word)).count();
            (text.matches(['+', '-', '*', '/', '%']).count() + calls) as u64
        })
    }
}

/// The names and numbers in an expression.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
    words.filter(|word| !word.is_empty())
}

/// The first forbidden part of an expression. Kernels run without bounds checks. An expression without indexing and
/// without calls of a kernel's own functions cannot reach memory.
fn fault(text: &str, variables: &[&str]) -> Option<String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_.,+-*/%<>=!&|() ".contains(c);
    if text.trim().is_empty() {
        return Some("no expression".into());
    }
    if let Some(c) = text.chars().find(|&c| !is_allowed(c)) {
        return Some(format!("{c:?}"));
    }
    let comment = ["//", "/*"].into_iter().find(|comment| text.contains(comment));
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let unknown = || words(text).find(|word| !is_number(word) && !variables.contains(word) && !is_known(word));
    comment.or_else(unknown).map(str::to_owned)
}

/// The points where a derivative is compared with differences of the value. They avoid whole numbers and
/// their halves, where many formulas have kinks.
pub(crate) fn points() -> impl Iterator<Item = f64> {
    (-8..8).map(|i| 0.31 + 0.62 * f64::from(i))
}

/// Checks that `slope` is the derivative of `value` at x. `what` names the formula and the point.
pub(crate) fn check_slope(what: &str, value: impl Fn(f64) -> f64, x: f64, slope: f64) -> Result<()> {
    const STEP: f64 = 1.0 / 65536.0;
    let [near, far] = [STEP, 2.0 * STEP].map(|h| (value(x + h) - value(x - h)) / (2.0 * h));
    // The errors of the differences grow with h². So their distance is three times the error of the nearer one. Both
    // values may have roundings of 2⁸ units of f64.
    let bound = (near - far).abs() + (value(x).abs() + 1.0) * 256.0 * f64::EPSILON / STEP;
    if !bound.is_finite() || (slope - near).abs() <= bound {
        return Ok(());
    }
    Err(Error::shape(what, format!("{near:.6} (the slope of the CPU twin's value)"), format!("{slope:.6}")))
}
