//! The table of a network's layers.

use std::fmt;

use super::{Dense, Layer, Network, Tied};
use crate::shape::Shape;

/// The table of [`Network::summary`]. It implements `Display`.
#[derive(Debug, Clone, Copy)]
pub struct Summary<'a>(pub(super) &'a Network);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = self.0;
        // In a chain, each layer takes the output of the layer before it, so the column of inputs is left out.
        let connected = !network.is_chain();
        let heading = format!("{:<28}{:<18}{:>12}", "Layer", "Output shape", "Parameters");
        writeln!(f, "{heading}{}", if connected { "  Connected to" } else { "" })?;
        let mut line = |title: &str, shapes: &[Shape], count: u64, inputs: String| {
            let shapes = shapes.iter().map(rows).collect::<Vec<_>>().join(" ");
            let (count, behind) = (thousands(count), if connected { format!("  {inputs}") } else { String::new() });
            writeln!(f, "{}", format!("{title:<28}{shapes:<18}{count:>12}{behind}").trim_end())
        };
        for end in &network.inputs {
            line(&end.name, &[end.shape], 0, String::new())?;
        }
        for (i, node) in network.nodes.iter().enumerate() {
            let own = &network.parameters[network.own_parameters(i)];
            let inputs = node.inputs.iter().map(|source| network.title(*source)).collect::<Vec<_>>().join(", ");
            let count = own.iter().map(|p| u64::from(p.len())).sum();
            line(&title(&node.name, &node.layer), &node.shapes, count, inputs)?;
        }
        if network.outputs.len() > 1 {
            for (end, source) in network.outputs.iter().zip(&network.sources) {
                writeln!(f, "output {}: {}", end.name, network.title(*source))?;
            }
        }
        let (trained, others) = (network.parameter_count(), network.state_count());
        write!(f, "Total params: {}", thousands(trained + others))?;
        match others {
            0 => Ok(()),
            _ => write!(f, "\nTrained: {}\nNon-trained: {}", thousands(trained), thousands(others)),
        }
    }
}

fn rows(shape: &Shape) -> String {
    let sizes: Vec<String> = shape.iter().map(u32::to_string).collect();
    format!("[batch, {}]", sizes.join(", "))
}

/// A layer's name and its main options.
pub(super) fn title(name: &str, layer: &Layer) -> String {
    match layer {
        Layer::Dropout(rate) | Layer::SpatialDropout(rate) => format!("{name} ({rate})"),
        Layer::Dense(Dense { activation, .. }) => format!("{name} ({activation})"),
        Layer::Tied(Tied { to, transposed: None }) => format!("{name} (weights of {to})"),
        Layer::Tied(Tied { to, transposed: Some(activation) }) => format!("{name} ({to} transposed, {activation})"),
        Layer::CompositeEncoding(parts) => {
            let parts: Vec<String> = parts.iter().map(|(n, encoding)| format!("{n} {}", encoding.kind())).collect();
            format!("{name} ({})", parts.join(", "))
        }
        Layer::Activation(activation) if *activation != crate::Activation::Identity => format!("{name} ({activation})"),
        _ => name.into(),
    }
}

/// Formats 567434 as 567,434.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}
