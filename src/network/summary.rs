//! The table of a network.

use std::fmt;

use super::Network;
use crate::activation::Activation;

/// The table that [`Network::summary`] makes; print it.
#[derive(Debug, Clone, Copy)]
pub struct Summary<'a>(pub(super) &'a Network);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = self.0;
        let shape = |shape: &[u32]| {
            let sizes: Vec<String> = shape.iter().map(u32::to_string).collect();
            format!("[batch, {}]", sizes.join(", "))
        };
        writeln!(f, "{:<28}{:<18}{:>12}", "Layer", "Output shape", "Parameters")?;
        writeln!(f, "{:<28}{:<18}{:>12}", "input", shape(&network.input_shape), 0)?;
        for placed in &network.layers {
            let title = match (placed.layer, placed.layer.activation()) {
                (super::Layer::Dropout(rate), _) => format!("{} ({rate})", placed.name),
                (layer, Activation::Identity) if layer.parameters(1).is_empty() => placed.name.clone(),
                (super::Layer::LayerNorm(_) | super::Layer::Encoding(_), _) => placed.name.clone(),
                (_, activation) => format!("{} ({activation})", placed.name),
            };
            let count: u64 = network.parameters[placed.parameters.clone()].iter().map(|p| u64::from(p.len())).sum();
            writeln!(f, "{title:<28}{:<18}{:>12}", shape(&placed.output_shape), thousands(count))?;
        }
        write!(f, "Total params: {}", thousands(network.parameter_count()))
    }
}

/// 567434 as 567,434.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}
