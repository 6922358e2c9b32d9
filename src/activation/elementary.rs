//! Elementary functions as activations, for networks from other programs. Files store their names.
//!
//! The formula of erf is 7.1.26 of Abramowitz and Stegun, with an error of 1.5e-7, and the Taylor series near 0.
//! mish(z) = z · tanh(ln(1 + e^z)) = z · n / (n + 2) with w = e^z and n = w · (w + 2).

use super::CustomActivation;

/// The function of this name, in lower case.
pub(crate) fn elementary(name: &str) -> Option<&'static CustomActivation> {
    FUNCTIONS.iter().find(|function| function.name() == name)
}

fn mish(z: f64) -> f64 {
    let w = z.min(30.0).exp();
    let n = w * (w + 2.0);
    z * n / (n + 2.0)
}

fn mish_slope(z: f64) -> f64 {
    let w = z.min(30.0).exp();
    let n = w * (w + 2.0);
    n / (n + 2.0) + z * 4.0 * w * (w + 1.0) / ((n + 2.0) * (n + 2.0))
}

static FUNCTIONS: [CustomActivation; 26] = [
    CustomActivation::new("abs", "abs(z)", "sign(z)").twin(f64::abs, f64::signum, 1e-6),
    CustomActivation::new("acos", "acos(z)", "-1.0 / sqrt(1.0 - z * z)").twin(
        f64::acos,
        |z| -1.0 / (1.0 - z * z).sqrt(),
        1e-3,
    ),
    CustomActivation::new("acosh", "acosh(z)", "1.0 / sqrt(z * z - 1.0)").twin(
        f64::acosh,
        |z| 1.0 / (z * z - 1.0).sqrt(),
        1e-3,
    ),
    CustomActivation::new("asin", "asin(z)", "1.0 / sqrt(1.0 - z * z)").twin(
        f64::asin,
        |z| 1.0 / (1.0 - z * z).sqrt(),
        1e-3,
    ),
    CustomActivation::new("asinh", "asinh(z)", "1.0 / sqrt(z * z + 1.0)").twin(
        f64::asinh,
        |z| 1.0 / (z * z + 1.0).sqrt(),
        1e-3,
    ),
    CustomActivation::new("atan", "atan(z)", "1.0 / (1.0 + z * z)").twin(f64::atan, |z| 1.0 / (1.0 + z * z), 1e-3),
    CustomActivation::new("atanh", "atanh(z)", "1.0 / (1.0 - z * z)").twin(f64::atanh, |z| 1.0 / (1.0 - z * z), 1e-3),
    CustomActivation::new("ceil", "ceil(z)", "0.0 * z").twin(f64::ceil, |z| 0.0 * z, 1e-6),
    CustomActivation::new("cos", "cos(z)", "-sin(z)").twin(f64::cos, |z| -z.sin(), 1e-3),
    CustomActivation::new("cosh", "cosh(z)", "sinh(z)").twin(f64::cosh, f64::sinh, 1e-3),
    CustomActivation::new(
        "erf",
        "select(sign(z) * (1.0 - exp(-z * z) * (1.0 / (1.0 + 0.3275911 * abs(z))) * (0.254829592 + (1.0 \
         / (1.0 + 0.3275911 * abs(z))) * (-0.284496736 + (1.0 / (1.0 + 0.3275911 * abs(z))) * \
         (1.421413741 + (1.0 / (1.0 + 0.3275911 * abs(z))) * (-1.453152027 + 1.061405429 * (1.0 / (1.0 + \
         0.3275911 * abs(z)))))))), 1.1283791671 * z * (1.0 - z * z * (0.3333333333 - z * z * (0.1 - z * \
         z * (0.0238095238 - z * z * (0.0046296296 - z * z * 0.0007575758))))), abs(z) < 0.5)",
        "1.1283791671 * exp(-z * z)",
    )
    .twin(libm::erf, |z| std::f64::consts::FRAC_2_SQRT_PI * (-z * z).exp(), 1e-5),
    CustomActivation::new("exp", "exp(z)", "exp(z)").twin(f64::exp, f64::exp, 1e-4),
    CustomActivation::new("floor", "floor(z)", "0.0 * z").twin(f64::floor, |z| 0.0 * z, 1e-6),
    // Keras 2 has this slope; others have 1/6.
    CustomActivation::new(
        "hard_sigmoid_fifth",
        "select(select(0.2 * z + 0.5, 0.0, z < -2.5), 1.0, z > 2.5)",
        "select(0.0, 0.2, z > -2.5 && z < 2.5)",
    )
    .twin(|z| (0.2 * z + 0.5).clamp(0.0, 1.0), |z| if z > -2.5 && z < 2.5 { 0.2 } else { 0.0 }, 1e-6),
    CustomActivation::new("log", "log(z)", "1.0 / z").twin(f64::ln, |z| 1.0 / z, 1e-5),
    CustomActivation::new(
        "mish",
        "z * ((exp(min(z, 20.0)) * (exp(min(z, 20.0)) + 2.0)) / ((exp(min(z, 20.0)) * (exp(min(z, 20.0)) \
         + 2.0)) + 2.0))",
        "(exp(min(z, 20.0)) * (exp(min(z, 20.0)) + 2.0)) / ((exp(min(z, 20.0)) * (exp(min(z, 20.0)) + \
         2.0)) + 2.0) + z * (4.0 * exp(min(z, 20.0)) / ((exp(min(z, 20.0)) * (exp(min(z, 20.0)) + 2.0)) \
         + 2.0)) * ((exp(min(z, 20.0)) + 1.0) / ((exp(min(z, 20.0)) * (exp(min(z, 20.0)) + 2.0)) + 2.0))",
    )
    .twin(mish, mish_slope, 1e-4),
    CustomActivation::new("reciprocal", "1.0 / z", "-1.0 / (z * z)").twin(f64::recip, |z| -1.0 / (z * z), 1e-5),
    CustomActivation::new(
        "relu6",
        "select(select(z, 0.0, z < 0.0), 6.0, z > 6.0)",
        "select(0.0, 1.0, z > 0.0 && z < 6.0)",
    )
    .twin(|z| z.clamp(0.0, 6.0), |z| if z > 0.0 && z < 6.0 { 1.0 } else { 0.0 }, 1e-6),
    CustomActivation::new("round", "round(z)", "0.0 * z").twin(f64::round_ties_even, |z| 0.0 * z, 1e-6),
    CustomActivation::new("sign", "sign(z)", "0.0 * z").twin(
        |z| if z == 0.0 { z } else { z.signum() },
        |z| 0.0 * z,
        1e-6,
    ),
    CustomActivation::new("sin", "sin(z)", "cos(z)").twin(f64::sin, f64::cos, 1e-3),
    CustomActivation::new("sinh", "sinh(z)", "cosh(z)").twin(f64::sinh, f64::cosh, 1e-3),
    CustomActivation::new("softsign", "z / (1.0 + abs(z))", "1.0 / ((1.0 + abs(z)) * (1.0 + abs(z)))").twin(
        |z| z / (1.0 + z.abs()),
        |z| (1.0 + z.abs()).powi(-2),
        1e-5,
    ),
    CustomActivation::new("sqrt", "sqrt(z)", "0.5 / sqrt(z)").twin(f64::sqrt, |z| 0.5 / z.sqrt(), 1e-5),
    CustomActivation::new("step", "select(0.0, 1.0, z > 0.0) + 0.0 * z", "0.0 * z").twin(
        |z| if z > 0.0 { 1.0 } else { 0.0 * z },
        |z| 0.0 * z,
        1e-6,
    ),
    CustomActivation::new("tan", "tan(z)", "1.0 + tan(z) * tan(z)").twin(f64::tan, |z| 1.0 + z.tan().powi(2), 1e-2),
];
