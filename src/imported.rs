//! The end of every import of a model of another program: the network with its numbers, or one error with all faults.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::network::{Graph, Network, Value};

/// The most lines of an error.
pub(crate) const MOST_FAULTS: usize = 100;

/// An error that lists what is not supported. `what` is the kind of things: "node" or "layer". `count` is the number of
/// faults, of which `faults` may be the first.
pub(crate) fn unsupported(what: &str, faults: &[String], count: usize) -> String {
    let listed = &faults[..faults.len().min(MOST_FAULTS)];
    let things = if count == 1 { format!("1 {what} is") } else { format!("{count} {what}s are") };
    let more = if count > listed.len() { format!("\n  and {} more", count - listed.len()) } else { String::new() };
    format!("{things} not supported:\n  {}{more}", listed.join("\n  "))
}

/// The network of the layers that lead to these outputs, and the numbers of its parameters and states, which are given
/// by name. `fault` makes the error of the file's format.
pub(crate) fn network(
    graph: Graph,
    outputs: Vec<(String, Value)>,
    numbers: &BTreeMap<String, Vec<f32>>,
    fault: fn(String) -> Error,
) -> Result<(Network, Vec<f32>)> {
    let network = graph.build_reachable(outputs)?;
    let mut parameters = vec![0.0; network.parameter_words() as usize];
    for tensor in network.tensors() {
        match numbers.get(&tensor.name) {
            Some(numbers) if numbers.len() == tensor.range().len() => {
                parameters[tensor.range()].copy_from_slice(numbers);
            }
            _ => return Err(fault(format!("the numbers of {} are missing", tensor.name))),
        }
    }
    network.check_parameters(&parameters)?;
    Ok((network, parameters))
}
