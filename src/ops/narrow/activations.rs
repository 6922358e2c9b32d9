//! Activation functions for texts that apply several. Each has a unique name.

use super::*;

/// Functions that apply one activation each, and the functions that they call. All names begin with `prefix`.
pub(super) fn activations(prefix: &str, wanted: &[Activation]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for &activation in wanted {
        let parameter = format!("{:?}", activation.parameter().unwrap_or(0.0));
        let text = activation.text().replace("PARAMETER", &parameter);
        excerpt(&mut texts, &text, "activate", |called| match called {
            "activate" => activation_name(prefix, activation),
            called => format!("{prefix}{called}"),
        });
    }
    texts.concat()
}

/// Name of the function that applies an activation.
pub(super) fn activation_name(prefix: &str, activation: Activation) -> String {
    let name = activation.to_string();
    let name = name.split('(').next().unwrap_or_default();
    match (activation, activation.parameter()) {
        (Activation::Custom(own), _) => format!("{prefix}activate_{name}_{:x}", own.hash()),
        (_, None) => format!("{prefix}activate_{name}"),
        (_, Some(parameter)) => format!("{prefix}activate_{name}_{:x}", parameter.to_bits()),
    }
}
