//! Draws a network as a Graphviz graph.

use std::fmt::Write;

use super::summary::title;
use super::{Network, Source};

impl Network {
    /// The network as a graph in Graphviz' DOT language. Draw it with `dot -Tsvg network.dot -o network.svg`.
    ///
    /// A box shows a layer's name and its number of weights. An arrow shows the shape of a sample.
    ///
    /// ```
    /// use wgrad::{Activation::*, Network};
    /// let network = Network::input(8).dense(4, Relu).build()?;
    /// assert!(network.to_dot().starts_with("digraph network {"));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn to_dot(&self) -> String {
        let mut text = String::from("digraph network {\n");
        let id = |source: &Source| match source {
            Source::Input(input) => format!("input{input}"),
            Source::Node { node, .. } => format!("layer{node}"),
        };
        let mut write = |line: String| writeln!(text, "  {line}").expect("a string takes all");
        let arrow = |from: &Source, to: String| {
            format!("{} -> {to} [label={}];", id(from), quoted(&format!("{:?}", self.shape(*from))))
        };
        write("node [shape=box, fontname=\"sans-serif\"];".into());
        write("edge [fontname=\"sans-serif\"];".into());
        for (i, end) in self.inputs.iter().enumerate() {
            write(format!("input{i} [label={}, shape=ellipse];", quoted(&end.name)));
        }
        for (i, node) in self.nodes.iter().enumerate() {
            let count: u64 = self.parameters[self.own_parameters(i)].iter().map(|p| u64::from(p.len())).sum();
            let weights = if count > 0 { format!("\n{} weights", super::thousands(count)) } else { String::new() };
            write(format!("layer{i} [label={}];", quoted(&(title(&node.name, &node.layer) + &weights))));
            for source in &node.inputs {
                write(arrow(source, format!("layer{i}")));
            }
        }
        for (i, (end, source)) in self.outputs.iter().zip(&self.sources).enumerate() {
            write(format!("output{i} [label={}, shape=ellipse];", quoted(&end.name)));
            write(arrow(source, format!("output{i}")));
        }
        text.push_str("}\n");
        text
    }
}

/// A quoted string of the DOT language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
