//! Gemm and MatMul.

use super::{Entry, Importer, Op, one};
use crate::activation::Activation;
use crate::network::{Dense, Layer};
use crate::onnx::Result;
use crate::onnx::layout::{View, count, permutation};
use crate::onnx::tensor::Tensor;

/// A dense layer along one dimension of a value: its weights, as a function of input and output, and its bias.
struct Weights<'a> {
    inputs: usize,
    units: usize,
    at: &'a dyn Fn(usize, usize) -> f32,
    bias: Option<Vec<f32>>,
    name: Option<String>,
}

impl Importer<'_> {
    fn dense(&mut self, x: &View, dim: usize, weights: Weights) -> Result<View> {
        let Weights { inputs, units, at, bias, name } = weights;
        let factors = x.dims[dim].clone();
        if count(&factors) != inputs as u64 {
            return Err(format!("weights for {inputs} inputs, where the input has {}", count(&factors)));
        }
        let (arranged, value) = self.with_last(x, &factors)?;
        let order = permutation(&factors, &arranged.in_memory_order(&factors));
        self.affords(inputs as u64 * units as u64)?;
        let place = |i: usize| order.as_ref().map_or(i, |order| order[i]);
        let numbers = (0..inputs).flat_map(|i| (0..units).map(move |o| (place(i), o))).map(|(i, o)| at(i, o)).collect();
        let dense = Dense::new(u32::try_from(units).map_err(|_| "too many units")?, Activation::Identity);
        let mut numbers = vec![("weight", numbers)];
        let bias = bias.or_else(|| self.options.fold_batch_norm.then(|| vec![0.0; units]));
        let dense = match bias {
            Some(bias) => {
                numbers.push(("bias", bias));
                dense
            }
            None => dense.without_bias(),
        };
        let value = self.layers(Layer::Dense(dense), &[value], name, numbers)?[0];
        let new = self.factors.of(units as u64)?;
        let mut dims = arranged.dims.clone();
        dims[dim] = new.clone();
        Ok(View { value, dims, order: [arranged.others(&factors), new].concat(), batch_at: 0, channels: x.channels })
    }
}

/// A bias for this number of units, if a constant of this shape is one.
fn bias(c: &Tensor, units: u64, scale: f32) -> Result<Option<Vec<f32>>> {
    let is_row = c.len() == 1 || (c.len() == units && c.dims.last() == Some(&units));
    if !is_row {
        return Ok(None);
    }
    let mut row = c.to_f32()?;
    if row.len() == 1 {
        row = vec![row[0]; units as usize];
    }
    row.iter_mut().for_each(|value| *value *= scale);
    Ok(Some(row))
}

/// The name of the module of a weight: `conv1` for `conv1.weight`.
pub(super) fn module(op: &Op, input: usize) -> Option<String> {
    let name = op.node.inputs.get(input)?;
    let by_weight = [".weight", "_weight", ".scale"].iter().find_map(|role| name.strip_suffix(role));
    // Exporters make up names such as "onnx::MatMul_12"; then the node has the better one.
    let by_node = || {
        let node = op.node.name.trim_matches('/');
        Some(node.rsplit_once('/').map_or(node, |(module, _)| module)).filter(|name| !name.is_empty())
    };
    by_weight.or_else(by_node).map(str::to_owned)
}

pub(super) fn gemm(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, [alpha, beta]) = (op.node, [op.node.float("alpha", 1.0)?, op.node.float("beta", 1.0)?]);
    let [trans_a, trans_b] = [node.int("transA", 0)? != 0, node.int("transB", 0)? != 0];
    let rank = 2 - imp.batch;
    let matrix = |tensor: &Tensor, transposed: bool| -> Result<(usize, usize, Vec<f32>)> {
        let [rows, columns] = tensor.dims[..] else { return Err(format!("a matrix of the shape {:?}", tensor.dims)) };
        let (rows, columns) = if transposed { (columns, rows) } else { (rows, columns) };
        Ok((rows as usize, columns as usize, tensor.to_f32()?))
    };
    let mut result = match (op.entry(0)?, op.entry(1)?) {
        (Entry::View(a), Entry::Constant(b)) => {
            let mut a = a.clone();
            if a.dims.len() != rank || (trans_a && imp.batch == 1) {
                return Err(
                    "attribute transA: the transpose of a batch is not supported, nor inputs of other rank".into()
                );
            }
            if trans_a {
                a.dims.swap(0, 1);
            }
            let (inputs, units, b) = matrix(b, trans_b)?;
            let at = |i: usize, o: usize| alpha * if trans_b { b[o * inputs + i] } else { b[i * units + o] };
            let c = match op.inputs.get(2) {
                Some(Some(Entry::Constant(c))) => bias(c, units as u64, beta)?,
                _ => None,
            };
            let has_bias = c.is_some();
            let y = imp.dense(&a, rank - 1, Weights { inputs, units, at: &at, bias: c, name: module(op, 1) })?;
            if has_bias || !op.has(2) {
                imp.may_fold(op, y.value);
                return one(y);
            }
            y
        }
        (Entry::Constant(a), Entry::View(b)) if imp.batch == 0 && b.dims.len() == 2 => {
            let mut b = b.clone();
            if trans_b {
                b.dims.swap(0, 1);
            }
            let (units, inputs, a) = matrix(a, trans_a)?;
            let at = |i: usize, o: usize| alpha * if trans_a { a[i * units + o] } else { a[o * inputs + i] };
            imp.dense(&b, 0, Weights { inputs, units, at: &at, bias: None, name: None })?
        }
        _ => return Err("two matrices that are both computed, or a constant batch".into()),
    };
    if op.has(2) {
        let c = imp.scaled(op.entry(2)?, beta)?;
        result = imp.combined(&Entry::View(result), &c, false)?;
    }
    one(result)
}

pub(super) fn matmul(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let is_matrix =
        |tensor: &Tensor| tensor.dims.len() <= 2 || tensor.dims[..tensor.dims.len() - 2].iter().all(|&d| d == 1);
    match (op.entry(0)?, op.entry(1)?) {
        (Entry::View(x), Entry::Constant(w)) if is_matrix(w) && !x.dims.is_empty() => {
            let (inputs, units) = match w.dims[..] {
                [inputs] => (inputs as usize, 1),
                [.., inputs, units] => (inputs as usize, units as usize),
                [] => return Err("a matrix without dimensions".into()),
            };
            let (values, dim) = (w.to_f32()?, x.dims.len() - 1);
            let at = |i: usize, o: usize| values[i * units + o];
            let bias = imp.sum_after(op, units as u64)?;
            let mut y = imp.dense(x, dim, Weights { inputs, units, at: &at, bias, name: module(op, 1) })?;
            if w.dims.len() == 1 {
                y.dims.pop();
            }
            for _ in x.dims.len() + imp.batch..w.dims.len() {
                y.dims.insert(0, vec![]);
            }
            one(y)
        }
        (Entry::Constant(w), Entry::View(x)) if is_matrix(w) && !w.dims.is_empty() && x.dims.len() >= 2 => {
            let (units, inputs) = match w.dims[..] {
                [inputs] => (1, inputs as usize),
                [.., units, inputs] => (units as usize, inputs as usize),
                [] => return Err("a matrix without dimensions".into()),
            };
            let (values, dim) = (w.to_f32()?, x.dims.len() - 2);
            let at = |i: usize, o: usize| values[o * inputs + i];
            let mut y = imp.dense(x, dim, Weights { inputs, units, at: &at, bias: None, name: None })?;
            if w.dims.len() == 1 {
                y.dims.remove(dim);
            }
            one(y)
        }
        (a, b) => {
            let (mut a, mut b) = (imp.viewed(a)?, imp.viewed(b)?);
            if a.dims.len() < 2 || b.dims.len() < 2 {
                return Err("a product of two computed values with fewer than two dimensions".into());
            }
            imp.product(&mut a, &mut b).map(|y| vec![Entry::View(y)])
        }
    }
}

impl Importer<'_> {
    /// The constant that the only reader of a product adds to its rows: a bias.
    fn sum_after(&mut self, op: &Op, units: u64) -> Result<Option<Vec<f32>>> {
        let Some(name) = op.node.outputs.first() else { return Ok(None) };
        let Some((1, Some(sum))) = self.readers.get(&**name).copied() else { return Ok(None) };
        let other = sum.inputs.iter().find(|input| *input != name).and_then(|input| self.value(input));
        let (Some(Entry::Constant(c)), "Add", [output]) = (other, &*sum.op, &sum.outputs[..]) else { return Ok(None) };
        if sum.inputs.len() != 2 || c.dims != [units] {
            return Ok(None);
        }
        let row = c.to_f32()?;
        self.biased.insert(output.clone());
        Ok(Some(row))
    }

    /// The product of two computed matrices, of each sample: the sum of the products of their elements. It needs memory
    /// for all these products.
    fn product(&mut self, a: &mut View, b: &mut View) -> Result<View> {
        const MOST: u64 = 1 << 24;
        let [inner, columns] = [b.dims[b.dims.len() - 2].clone(), b.dims[b.dims.len() - 1].clone()];
        let rows = count(&a.dims[a.dims.len() - 2]);
        let outer = count(&a.order) / rows.max(1) / count(&inner).max(1);
        let all = outer.saturating_mul(rows).saturating_mul(count(&inner)).saturating_mul(count(&columns));
        if all > MOST {
            return Err(format!("a product of two computed matrices of {all} element products; at most {MOST}"));
        }
        a.dims.push(vec![]);
        b.dims.insert(b.dims.len() - 2, vec![]);
        let products = self.combined(&Entry::View(a.clone()), &Entry::View(b.clone()), true)?;
        let dim = products.dims.len() - 2;
        let mean = self.reduced(&products, &[dim], false, false)?;
        let value = self.scale_shift(count(&inner) as f32, 0.0, mean.value)?;
        Ok(View { value, ..mean })
    }
}
