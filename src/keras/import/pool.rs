//! Pooling.

use super::build::sample;
use super::{Call, Importer};
use crate::keras::Result;
use crate::network::{Layer, Pool, Value};

pub(super) fn pool(imp: &mut Importer, call: &Call) -> Result<Value> {
    let (x, config) = (call.input()?, call.config);
    let size = config.pair("pool_size", [2; 2])?;
    let pool = if call.class_has("Max") { Pool::max(size) } else { Pool::average(size) };
    let pool = pool.stride(config.pair("strides", size)?);
    let pool = match config.text("padding", "valid")? {
        "valid" => pool,
        "same" => pool.same(),
        other => return Err(format!("attribute padding: {other:?} is not supported")),
    };
    imp.add(call, pool, &[x])
}

pub(super) fn global(imp: &mut Importer, call: &Call) -> Result<Value> {
    let x = call.input()?;
    let shape = imp.shape(x)?;
    let axes: Vec<i32> = (0..shape.len() as i32 - 1).collect();
    if axes.is_empty() {
        return Err("an input of 1 dimension; expected images or sequences".into());
    }
    let keeps = call.config.flag("keepdims", false)?;
    let reduce = if call.class_has("Max") { Layer::ReduceMax } else { Layer::ReduceMean };
    let y = imp.add(call, reduce(axes.clone()), &[x])?;
    let kept: Vec<u32> = axes.iter().map(|_| 1).chain(shape.last().copied()).collect();
    if keeps { imp.add(call, Layer::Reshape(sample(&kept)?), &[y]) } else { Ok(y) }
}
