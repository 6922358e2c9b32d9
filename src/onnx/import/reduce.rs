//! Softmax and reductions over dimensions.

use super::functions::elementary;
use super::{Entry, Importer, Op, one};
use crate::activation::Activation;
use crate::network::Layer;
use crate::onnx::Result;
use crate::onnx::layout::{Factor, View, count, merged};

impl Importer<'_> {
    /// The mean or the maximum over dimensions.
    pub fn reduced(&mut self, x: &View, dims: &[usize], max: bool, keep: bool) -> Result<View> {
        let gone: Vec<Factor> = dims.iter().flat_map(|&d| x.dims[d].clone()).collect();
        let mut view = x.clone();
        let groups = |view: &View| merged(view.order.iter().map(|f| (f.length.into(), gone.contains(f))));
        if groups(&view).len() > 4 {
            view = self.arranged(x, [&x.others(&gone)[..], &gone].concat())?;
        }
        let groups = groups(&view);
        if !gone.is_empty() {
            let lengths: Vec<u64> = groups.iter().map(|(length, _)| *length).collect();
            let axes: Vec<i32> = (0..groups.len()).filter(|&i| groups[i].1).map(|i| i as i32).collect();
            let value = self.shaped(view.value, &lengths)?;
            let layer = if max { Layer::ReduceMax(axes) } else { Layer::ReduceMean(axes) };
            view.value = self.layer(layer, &[value])?;
        }
        view.order = view.others(&gone);
        for &d in dims {
            view.dims[d] = vec![];
        }
        if !keep {
            view.channels = None;
            view.dims = (0..view.dims.len()).filter(|d| !dims.contains(d)).map(|d| view.dims[d].clone()).collect();
        }
        Ok(view)
    }
}

pub(super) fn reduce(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (node, x) = (op.node, op.view(0)?);
    let axes = op.given()?.ints("axes", 1)?.unwrap_or_default();
    let mut dims = match axes.is_empty() {
        true if node.int("noop_with_empty_axes", 0)? != 0 => vec![],
        true if imp.batch == 1 => return Err("it works along the batch; only each sample alone is supported".into()),
        true => (0..x.dims.len()).collect(),
        false => axes.into_iter().map(|axis| imp.axis(&x, axis)).collect::<Result<Vec<_>>>()?,
    };
    dims.sort_unstable();
    dims.dedup();
    let keep = node.int("keepdims", 1)? != 0;
    let elements: u64 = dims.iter().map(|&d| count(&x.dims[d])).product();
    let sum = |imp: &mut Importer, x: &View| -> Result<View> {
        let mean = imp.reduced(x, &dims, false, keep)?;
        Ok(View { value: imp.scale_shift(elements as f32, 0.0, mean.value)?, ..mean })
    };
    let squared = |imp: &mut Importer| -> Result<View> {
        Ok(View { value: imp.layer(Layer::Multiply, &[x.value, x.value])?, ..x.clone() })
    };
    let y = match &*node.op {
        "ReduceMean" => imp.reduced(&x, &dims, false, keep)?,
        "ReduceProd" => super::logic::multiplied(imp, &x, &dims, keep)?,
        "ReduceMax" => imp.reduced(&x, &dims, true, keep)?,
        "ReduceSum" => sum(imp, &x)?,
        "ReduceMin" => {
            let negative = View { value: imp.scale_shift(-1.0, 0.0, x.value)?, ..x.clone() };
            let max = imp.reduced(&negative, &dims, true, keep)?;
            View { value: imp.scale_shift(-1.0, 0.0, max.value)?, ..max }
        }
        "ReduceL1" => {
            let magnitudes = imp.after(&x, elementary("abs")?)?;
            sum(imp, &magnitudes)?
        }
        "ReduceSumSquare" => {
            let squares = squared(imp)?;
            sum(imp, &squares)?
        }
        "ReduceL2" => {
            let squares = squared(imp)?;
            let sum = sum(imp, &squares)?;
            imp.after(&sum, elementary("sqrt")?)?
        }
        "ReduceLogSum" => {
            let sum = sum(imp, &x)?;
            imp.after(&sum, elementary("log")?)?
        }
        _ => {
            // The largest element is subtracted first, so that no exponential overflows.
            let max = imp.reduced(&x, &dims, true, true)?;
            let less = imp.scaled(&Entry::View(max), -1.0)?;
            let shifted = imp.combined(&Entry::View(x.clone()), &less, false)?;
            let exponentials = imp.after(&shifted, elementary("exp")?)?;
            let sum = sum(imp, &exponentials)?;
            let log = imp.after(&sum, elementary("log")?)?;
            let max = imp.reduced(&x, &dims, true, keep)?;
            imp.combined(&Entry::View(log), &Entry::View(max), false)?
        }
    };
    one(y)
}

pub(super) fn softmax(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let x = op.view(0)?;
    let first = imp.axis(&x, op.node.int("axis", if imp.opset < 13 { 1 } else { -1 })?)?;
    // Before version 13, all dimensions from the axis on were one.
    let last = if imp.opset < 13 { x.dims.len() } else { first + 1 };
    let factors = x.dims[first..last].concat();
    let (view, value) = imp.with_last(&x, &factors)?;
    if op.node.op == "Softmax" {
        let value = imp.activation(Activation::Softmax, value)?;
        return one(View { value, ..view });
    }
    // x - max - log Σ exp(x - max)
    let columns = count(&factors);
    let rows: Vec<u64> = vec![count(&view.order) / columns, 1];
    let rows = if view.order.len() == factors.len() { &rows[1..] } else { &rows[..] };
    let max = imp.layer(Layer::ReduceMax(vec![-1]), &[value])?;
    let max = imp.shaped(max, rows)?;
    let less = imp.scale_shift(-1.0, 0.0, max)?;
    let shifted = imp.layer(Layer::Add, &[value, less])?;
    let exponentials = imp.activation(elementary("exp")?, shifted)?;
    let mean = imp.layer(Layer::ReduceMean(vec![-1]), &[exponentials])?;
    let mean = imp.shaped(mean, rows)?;
    let sum = imp.scale_shift(columns as f32, 0.0, mean)?;
    let log = imp.activation(elementary("log")?, sum)?;
    let less = imp.scale_shift(-1.0, 0.0, log)?;
    let value = imp.layer(Layer::Add, &[shifted, less])?;
    one(View { value, ..view })
}
