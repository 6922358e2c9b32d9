//! Activation functions for texts that apply several. Each has a unique name.

use super::*;

/// Appends functions that apply one activation each, and the functions that they call. All names begin with `prefix`.
/// `function` is "activate", or "derivative" for the derivatives.
pub(crate) fn activations(texts: &mut Vec<String>, prefix: &str, function: &str, wanted: &[Activation]) {
    for &activation in wanted {
        let parameter = format!("{:?}", activation.parameter().unwrap_or(0.0));
        let text = activation.text().replace("PARAMETER", &parameter);
        excerpt(texts, &text, function, |called| match called {
            _ if called == function => activation_name(prefix, function, activation),
            called => format!("{prefix}{called}"),
        });
    }
}

/// Name of the function that applies an activation.
pub(crate) fn activation_name(prefix: &str, function: &str, activation: Activation) -> String {
    let name = activation.to_string();
    let name = name.split('(').next().unwrap_or_default();
    match (activation, activation.parameter()) {
        (Activation::Custom(own), _) => format!("{prefix}{function}_{name}_{:x}", own.hash()),
        (_, None) => format!("{prefix}{function}_{name}"),
        (_, Some(parameter)) => format!("{prefix}{function}_{name}_{:x}", parameter.to_bits()),
    }
}
