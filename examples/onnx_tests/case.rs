//! One test case: finds out which inputs must be constant, runs the network on both devices, and compares.

use std::collections::BTreeSet;
use std::path::Path;

use wgrad::{Device, Model, Network, Onnx};

use crate::Result;
use crate::tensor::Tensor;

/// A line of `cases.tsv`.
pub struct Case {
    /// The path of its folder, such as "node/test_abs".
    pub path: String,
    pub rtol: f32,
    pub atol: f32,
    pub operators: Vec<String>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

pub enum Outcome {
    Passed,
    /// All its operators are supported, but it is refused or its numbers are wrong.
    Failed(String),
    /// It has operators, inputs or outputs that wgrad does not have.
    Skipped(String),
}

/// A network that was made of a case, and its inputs.
struct Attempt<'a> {
    network: Network,
    parameters: Vec<f32>,
    /// The inputs that are no constants.
    real: Vec<&'a Tensor>,
    batched: bool,
}

fn is_float(name: &str) -> bool {
    matches!(name, "float" | "float16" | "bfloat16" | "double")
}

impl Case {
    pub fn read(line: &str) -> Result<Self> {
        let columns: Vec<&str> = line.split('\t').collect();
        let [path, rtol, atol, operators, inputs, outputs] = columns[..] else {
            return Err(format!("cases.tsv: expected 6 columns, got {line:?}").into());
        };
        let list = |column: &str| column.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let [operators, inputs, outputs] = [operators, inputs, outputs].map(list);
        Ok(Self { path: path.into(), rtol: rtol.parse()?, atol: atol.parse()?, operators, inputs, outputs })
    }

    /// "node", "pytorch-converted" or "light".
    pub fn kind(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    pub fn run(&self, folder: &Path, devices: &[(&str, Device)]) -> Result<Outcome> {
        let folder = folder.join(&self.path);
        let bytes = std::fs::read(folder.join("model.onnx"))?;
        if let Some(kind) = self.inputs.iter().chain(&self.outputs).find(|kind| is_other(kind)) {
            return Ok(Outcome::Skipped(format!("values of the type {kind}")));
        }
        let tensors = |side: &str, count: usize| -> Result<Vec<Tensor>> {
            (0..count).map(|i| Tensor::read(&folder.join(format!("test_data_set_0/{side}_{i}.pb")))).collect()
        };
        let inputs = tensors("input", self.inputs.len())?;
        let attempt = match attempt(&bytes, &inputs) {
            Ok(attempt) => attempt,
            Err(reasons) => {
                return Ok(match out_of_scope(&reasons).or_else(|| self.types(&inputs)) {
                    Some(reason) => Outcome::Skipped(reason),
                    None => Outcome::Failed(reasons.join("; ")),
                });
            }
        };
        if let Some(reason) = self.types(&inputs) {
            return Ok(Outcome::Skipped(reason));
        }
        let outputs = tensors("output", self.outputs.len())?;
        for (name, device) in devices {
            if let Err(fault) = self.compare(device, &attempt, &outputs) {
                return Ok(Outcome::Failed(format!("{name}: {fault}")));
            }
        }
        Ok(Outcome::Passed)
    }

    /// Why its values are none that a network has.
    fn types(&self, inputs: &[Tensor]) -> Option<String> {
        if let Some(kind) = self.outputs.iter().find(|kind| !is_float(kind)) {
            return Some(format!("an output of the type {kind}"));
        }
        let is_narrow = |kind: &&String| kind.starts_with("float8") || kind.starts_with("float4") || is_small_int(kind);
        if let Some(kind) = self.inputs.iter().find(is_narrow) {
            return Some(format!("an input of the type {kind}"));
        }
        let mut floats = inputs.iter().filter(|input| input.floats.is_some()).peekable();
        match floats.peek() {
            None => Some("no input of floats".into()),
            Some(_) => floats.all(|input| input.dims.contains(&0)).then(|| "no input with elements".into()),
        }
    }

    fn compare(&self, device: &Device, attempt: &Attempt, expected: &[Tensor]) -> Result<()> {
        let Attempt { network, parameters, real, batched } = attempt;
        let model = Model::new(device, network, parameters)?;
        let of = |tensor: &'_ Tensor| tensor.floats.clone().unwrap_or_default();
        let features: Vec<Vec<f32>> = real.iter().map(|tensor| of(tensor)).collect();
        let named: Vec<(&str, &Vec<f32>)> = real.iter().zip(&features).map(|(x, values)| (&*x.name, values)).collect();
        let outputs = if named.len() == 1 { model.forward_all(named[0].1)? } else { model.forward_all(named)? };
        for ((values, spec), expected) in outputs.iter().zip(network.output_specs()).zip(expected) {
            let dims = if *batched { expected.dims.get(1..).unwrap_or_default() } else { &expected.dims };
            let whole = [dims.iter().product()];
            let dims = if dims.is_empty() || dims.len() > 4 { &whole[..] } else { dims };
            if spec.shape[..] != *dims {
                return Err(format!("output of the shape {:?}, expected {:?}", spec.shape, expected.dims).into());
            }
            let numbers = of(expected);
            if values.len() != numbers.len() {
                return Err(format!("{} numbers, expected {}", values.len(), numbers.len()).into());
            }
            // Two units in the last place of bfloat16, as in ONNX's own runner.
            let rtol = if expected.is_bfloat { self.rtol.max(1.0 / 64.0) } else { self.rtol };
            for (i, (y, expected)) in values.iter().zip(&numbers).enumerate() {
                let is_equal = y == expected || y.is_nan() && expected.is_nan();
                let is_close = (y - expected).abs() <= self.atol + rtol * expected.abs() && expected.is_finite();
                if !is_equal && !is_close {
                    return Err(format!("number {i} is {y}, expected {expected}").into());
                }
            }
        }
        Ok(())
    }
}

fn is_small_int(name: &str) -> bool {
    matches!(name, "int2" | "uint2" | "int4" | "uint4")
}

/// Whether a value is no tensor.
fn is_other(kind: &str) -> bool {
    matches!(kind, "sequence" | "optional" | "map" | "sparse_tensor")
}

/// Reads the model with some inputs as constants. First, only those are constant that hold no floats, or that an
/// operator must know. Then all are constant but one. Last, the first dimension is tried as the batch. The error is that
/// of the first attempt.
fn attempt<'a>(bytes: &[u8], inputs: &'a [Tensor]) -> Result<Attempt<'a>, Vec<String>> {
    let floats: Vec<usize> = (0..inputs.len()).filter(|&i| inputs[i].floats.is_some()).collect();
    let mut first = None;
    for batched in [false, true] {
        let choices = std::iter::once(floats.clone()).chain(floats.iter().map(|&i| vec![i]));
        for mut real in choices {
            loop {
                match read(bytes, inputs, &real, batched) {
                    Ok((network, parameters)) => {
                        // An input that no node reads is left out.
                        let is_input = |name: &str| network.input_specs().iter().any(|spec| spec.name == name);
                        let real = real.into_iter().map(|i| &inputs[i]).filter(|x| is_input(&x.name)).collect();
                        return Ok(Attempt { network, parameters, real, batched });
                    }
                    Err(fault) => {
                        let is_asked = |i: &usize| {
                            fault.contains(&format!("({}) is computed while the model runs", inputs[*i].name))
                        };
                        let before = real.len();
                        real.retain(|i| !is_asked(i));
                        if real.len() == before || real.is_empty() {
                            first = first.or(Some(fault));
                            break;
                        }
                    }
                }
            }
        }
    }
    let first = first.unwrap_or_else(|| "no input of floats".into());
    let lines: Vec<String> = first.lines().map(|line| line.trim().to_owned()).collect();
    // The first line counts the nodes of the lines after it.
    Err(if lines.len() > 1 { lines[1..].to_vec() } else { lines })
}

fn read(bytes: &[u8], inputs: &[Tensor], real: &[usize], batched: bool) -> Result<(Network, Vec<f32>), String> {
    let rows: Vec<Option<&u32>> = real.iter().map(|&i| inputs[i].dims.first()).collect();
    if batched && rows.iter().any(|row| row.is_none() || *row != rows[0]) {
        return Err("inputs of different batch sizes".into());
    }
    let mut onnx = Onnx::read(bytes).map_err(|error| error.to_string())?.channels_first();
    if !batched {
        onnx = onnx.unbatched();
    }
    for (i, input) in inputs.iter().enumerate() {
        onnx = match real.contains(&i) {
            true => onnx.input_shape(&input.name, &input.dims),
            false => onnx.constant(&input.name, &input.bytes).map_err(|error| error.to_string())?,
        };
    }
    onnx.network().map_err(|error| error.to_string())
}

/// The operators that wgrad does not have, or has only on constants, if the reasons name some.
fn out_of_scope(reasons: &[String]) -> Option<String> {
    let names = |is_one: fn(&str) -> bool| {
        let named = reasons.iter().filter(|reason| is_one(reason)).filter_map(|reason| reason.split(' ').next());
        let names = named.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
        Some(names).filter(|names| !names.is_empty())
    };
    if reasons.iter().any(|reason| reason.contains("its operators have version 0")) {
        return Some("operators of other domains only".into());
    }
    let unknown = names(|reason| reason.contains(": the operator") && reason.ends_with("is not supported"));
    let on_constants = || names(|reason| reason.ends_with("supported only on constants"));
    unknown.or_else(|| on_constants().map(|names| format!("{names} of computed values")))
}
