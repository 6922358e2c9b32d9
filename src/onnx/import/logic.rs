//! Comparisons, logic and `Where` of computed values. A computed boolean is 1 or 0.

use super::functions::elementary;
use super::{Entry, Importer, Op, one};
use crate::network::Layer;
use crate::onnx::layout::{View, count};
use crate::onnx::{Result, fold};

/// An input as numbers: a constant of booleans becomes 1 and 0.
fn number(op: &Op, i: usize) -> Result<Entry> {
    Ok(match op.entry(i)? {
        Entry::View(view) => Entry::View(view.clone()),
        Entry::Constant(tensor) => Entry::Constant(fold::cast(tensor, 1)?.finite()),
    })
}

/// 1 - x.
fn not(imp: &mut Importer, x: &Entry) -> Result<Entry> {
    Ok(match x {
        Entry::View(view) => Entry::View(View { value: imp.scale_shift(-1.0, 1.0, view.value)?, ..view.clone() }),
        Entry::Constant(tensor) => Entry::Constant(tensor.map(|x| 1.0 - x)?),
    })
}

fn product(imp: &mut Importer, a: &Entry, b: &Entry) -> Result<Entry> {
    Ok(match (a, b) {
        (Entry::Constant(a), Entry::Constant(b)) => Entry::Constant(fold::arithmetic("Mul", a, b)?),
        _ => Entry::View(imp.combined(a, b, true)?),
    })
}

/// 1 where a is below b, else 0.
fn below(imp: &mut Importer, a: &Entry, b: &Entry) -> Result<Entry> {
    let less = imp.scaled(a, -1.0)?;
    let difference = imp.combined(b, &less, false)?;
    Ok(Entry::View(imp.after(&difference, elementary("step")?)?))
}

pub(super) fn compare(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (a, b) = (number(op, 0)?, number(op, 1)?);
    let y = match &*op.node.op {
        "Less" => below(imp, &a, &b)?,
        "Greater" => below(imp, &b, &a)?,
        "LessOrEqual" => {
            let above = below(imp, &b, &a)?;
            not(imp, &above)?
        }
        "GreaterOrEqual" => {
            let below = below(imp, &a, &b)?;
            not(imp, &below)?
        }
        // Neither is below the other.
        _ => {
            let differences = [below(imp, &a, &b)?, below(imp, &b, &a)?];
            let [first, second] = [not(imp, &differences[0])?, not(imp, &differences[1])?];
            product(imp, &first, &second)?
        }
    };
    Ok(vec![y])
}

pub(super) fn logic(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let a = number(op, 0)?;
    let y = match &*op.node.op {
        "Not" => not(imp, &a)?,
        "And" => product(imp, &a, &number(op, 1)?)?,
        // Not both are false.
        _ => {
            let (a, b) = (not(imp, &a)?, not(imp, &number(op, 1)?)?);
            let neither = product(imp, &a, &b)?;
            not(imp, &neither)?
        }
    };
    Ok(vec![y])
}

/// condition · a + (1 - condition) · b
pub(super) fn select(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let [condition, a, b] = [number(op, 0)?, number(op, 1)?, number(op, 2)?];
    let otherwise = not(imp, &condition)?;
    let (a, b) = (product(imp, &condition, &a)?, product(imp, &otherwise, &b)?);
    one(imp.combined(&a, &b, false)?)
}

/// Repeats along each dimension.
pub(super) fn tile(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (mut x, times) = (op.view(0)?, op.constant(1)?.to_known()?);
    if times.len() != x.dims.len() + imp.batch || times.iter().any(|times| !(1..=64).contains(times)) {
        return Err(format!("repeats {times:?}: expected 1 to 64 for each dimension"));
    }
    for (axis, &times) in times.iter().enumerate().filter(|(_, times)| **times > 1) {
        let dim = imp.axis(&x, axis as i64)?;
        x = imp.joined(vec![x; times as usize], dim)?;
    }
    one(x)
}

/// The product over dimensions.
pub(super) fn multiplied(imp: &mut Importer, x: &View, dims: &[usize], keep: bool) -> Result<View> {
    const MOST: u64 = 64;
    let mut y = x.clone();
    for &dim in dims {
        let length = count(&y.dims[dim]);
        if length > MOST {
            return Err(format!("a product of {length} elements; at most {MOST}"));
        }
        if length == 1 {
            continue;
        }
        let parts = (0..length).map(|i| imp.part(&y, dim, i, 1)).collect::<Result<Vec<_>>>()?;
        let values: Vec<_> = parts.iter().map(|part| part.value).collect();
        y = View { value: imp.layer(Layer::Multiply, &values)?, ..parts[0].clone() };
    }
    // Each of the dimensions has one element now.
    imp.reduced(&y, dims, false, keep)
}
