//! Folding of elementwise operators, with broadcasting.

use std::sync::Arc;

use super::Given;
use crate::onnx::Result;
use crate::onnx::tensor::{Data, Int, Tensor, broadcast, places, repeated_strides};

/// An operator on the elements of one or more tensors. `None` if it is not known.
pub(super) fn fold(given: &Given) -> Result<Option<Tensor>> {
    let op = &*given.node.op;
    let inputs = given.inputs.iter().flatten().copied().collect::<Vec<_>>();
    let Some(&first) = inputs.first() else { return Ok(None) };
    let unary = |of: fn(f32) -> f32, of_int: Option<fn(i64) -> i64>| match (&first.data, of_int) {
        (Data::F32(_), _) => Ok(Some(Tensor { is_weight: false, ..first.map(of)? })),
        (Data::Int(values), Some(of)) => {
            let data = values.iter().map(|value| Ok(of(value.known()?).into())).collect::<Result<_>>()?;
            Ok(Some(Tensor::new(first.dims.clone(), Data::Int(data))))
        }
        _ => Err("the element type of this constant is not supported".to_owned()),
    };
    match op {
        "Neg" => unary(|x| -x, Some(i64::wrapping_neg)),
        "Abs" => unary(f32::abs, Some(i64::wrapping_abs)),
        "Sqrt" => unary(f32::sqrt, None),
        "Exp" => unary(f32::exp, None),
        "Log" => unary(f32::ln, None),
        "Floor" => unary(f32::floor, None),
        "Ceil" => unary(f32::ceil, None),
        "Round" => unary(f32::round_ties_even, None),
        "Reciprocal" => unary(|x| 1.0 / x, None),
        "Sin" => unary(f32::sin, None),
        "Cos" => unary(f32::cos, None),
        "Tanh" => unary(f32::tanh, None),
        "Relu" => unary(|x| x.max(0.0), None),
        "Sigmoid" => unary(|x| 1.0 / (1.0 + (-x).exp()), None),
        "Not" => match &first.data {
            Data::Bool(values) => {
                let data = Data::Bool(values.iter().map(|value| !value).collect());
                Ok(Some(Tensor::new(first.dims.clone(), data)))
            }
            _ => Err("expected a tensor of booleans".into()),
        },
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Min" | "Max" | "Sum" => {
            let mut so_far = first.clone();
            for other in &inputs[1..] {
                so_far = arithmetic(op, &so_far, other)?;
            }
            Ok(Some(so_far))
        }
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" => {
            compare(op, first, given.input(1)?).map(Some)
        }
        _ => Ok(None),
    }
}

/// Combines two lists of elements, repeated to their broadcast shape.
fn zip<A: Copy, B: Copy, C>(
    [a, b]: [&Tensor; 2],
    values: (&[A], &[B]),
    of: impl Fn(A, B) -> Result<C>,
) -> Result<(Vec<u64>, Arc<[C]>)> {
    let dims = broadcast(&a.dims, &b.dims)?;
    if values.0.len() == 1 && values.1.len() == 1 {
        return Ok((dims, [of(values.0[0], values.1[0])?].into()));
    }
    Tensor::new(dims.clone(), a.data.clone()).checked_len()?;
    let at = |tensor: &Tensor, stored: usize| match stored {
        1 => vec![0; dims.len()],
        _ => repeated_strides(&tensor.dims, &dims),
    };
    let pairs = places(&dims, at(a, values.0.len())).zip(places(&dims, at(b, values.1.len())));
    let elements = pairs.map(|(i, j)| of(values.0[i], values.1[j])).collect::<Result<_>>()?;
    Ok((dims, elements))
}

/// An operator of two tensors, by its name.
pub(in crate::onnx) fn arithmetic(op: &str, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match (&a.data, &b.data) {
        (Data::F32(x), Data::F32(y)) => {
            let of = |x: f32, y: f32| {
                Ok(match op {
                    "Add" | "Sum" => x + y,
                    "Sub" => x - y,
                    "Mul" => x * y,
                    "Div" => x / y,
                    "Mod" => x % y,
                    "Pow" => x.powf(y),
                    "Min" => x.min(y),
                    _ => x.max(y),
                })
            };
            let (dims, data) = zip([a, b], (x, y), of)?;
            Ok(Tensor::new(dims, Data::F32(data)))
        }
        (Data::Int(x), Data::Int(y)) => {
            let (dims, data) = zip([a, b], (x, y), |x, y| whole(op, x, y))?;
            Ok(Tensor::new(dims, Data::Int(data)))
        }
        (Data::F32(x), Data::Int(y)) if op == "Pow" => {
            let (dims, data) = zip([a, b], (x, y), |x: f32, y: Int| Ok(x.powf(y.known()? as f32)))?;
            Ok(Tensor::new(dims, Data::F32(data)))
        }
        _ => Err("arithmetic on constants of different types".into()),
    }
}

/// Arithmetic on whole numbers, which may depend on the number of rows.
fn whole(op: &str, a: Int, b: Int) -> Result<Int> {
    let both = |of: fn(i64, i64) -> i64| Ok(Int { at: of(a.at, b.at), rows: of(a.rows, b.rows) });
    match op {
        "Add" | "Sum" => return both(i64::wrapping_add),
        "Sub" => return both(i64::wrapping_sub),
        "Mul" if a.rows == 0 || b.rows == 0 => {
            let rows = a.at.wrapping_mul(b.rows).wrapping_add(b.at.wrapping_mul(a.rows));
            return Ok(Int { at: a.at.wrapping_mul(b.at), rows });
        }
        "Div" if b.rows == 0 && b.at != 0 && a.rows.wrapping_rem(b.at) == 0 && a.at.wrapping_rem(b.at) == 0 => {
            return both_over(a, b.at);
        }
        _ => {}
    }
    let (x, y) = (a.known()?, b.known()?);
    Ok(Int::from(match op {
        "Mul" => x.wrapping_mul(y),
        "Div" if y == 0 => return Err("a division by 0".into()),
        "Div" => x.wrapping_div(y),
        "Mod" if y == 0 => return Err("a division by 0".into()),
        // With the sign of the divisor.
        "Mod" => x.wrapping_rem(y).wrapping_add(y).wrapping_rem(y),
        "Pow" => x.wrapping_pow(u32::try_from(y).map_err(|_| "a negative power of a whole number")?),
        "Min" => x.min(y),
        _ => x.max(y),
    }))
}

fn both_over(a: Int, by: i64) -> Result<Int> {
    Ok(Int { at: a.at.wrapping_div(by), rows: a.rows.wrapping_div(by) })
}

fn compare(op: &str, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    fn of<T: PartialOrd>(op: &str, x: T, y: T) -> bool {
        match op {
            "Equal" => x == y,
            "Less" => x < y,
            "LessOrEqual" => x <= y,
            "Greater" => x > y,
            _ => x >= y,
        }
    }
    let (dims, data) = match (&a.data, &b.data) {
        (Data::F32(x), Data::F32(y)) => zip([a, b], (x, y), |x, y| Ok(of(op, x, y)))?,
        (Data::Int(x), Data::Int(y)) => zip([a, b], (x, y), |x: Int, y: Int| match (op, x == y) {
            ("Equal", true) => Ok(true),
            // A batch has any number of rows, so it equals no special value such as -1.
            ("Equal", false) if x.rows != y.rows => Ok(false),
            _ => Ok(of(op, x.known()?, y.known()?)),
        })?,
        (Data::Bool(x), Data::Bool(y)) => zip([a, b], (x, y), |x, y| {
            Ok(match op {
                "And" => x && y,
                "Or" => x || y,
                "Equal" => x == y,
                _ => return Err(format!("{op} of booleans")),
            })
        })?,
        _ => return Err("a comparison of constants of different types".into()),
    };
    Ok(Tensor::new(dims, Data::Bool(data)))
}

/// `Where`: elements of one tensor or of another.
pub(super) fn select(given: &Given) -> Result<Tensor> {
    let [condition, a, b] = [given.input(0)?, given.input(1)?, given.input(2)?];
    let Data::Bool(chosen) = &condition.data else { return Err("expected a condition of booleans".into()) };
    let dims = broadcast(&broadcast(&a.dims, &b.dims)?, &condition.dims)?;
    let both = Tensor::new(dims.clone(), condition.data.clone());
    let len = both.checked_len()?;
    let at = |tensor: &Tensor| match tensor.stored() {
        1 => vec![0; dims.len()],
        _ => repeated_strides(&tensor.dims, &dims),
    };
    let places = places(&dims, at(condition)).zip(places(&dims, at(a)).zip(places(&dims, at(b))));
    fn pick<T: Copy>(
        places: impl Iterator<Item = (usize, (usize, usize))>,
        chosen: &[bool],
        a: &[T],
        b: &[T],
    ) -> Arc<[T]> {
        places.map(|(c, (i, j))| if chosen[c] { a[i] } else { b[j] }).collect()
    }
    let data = match (&a.data, &b.data) {
        _ if len == 0 => a.data.clone(),
        (Data::F32(a), Data::F32(b)) => Data::F32(pick(places, chosen, a, b)),
        (Data::Int(a), Data::Int(b)) => Data::Int(pick(places, chosen, a, b)),
        (Data::Bool(a), Data::Bool(b)) => Data::Bool(pick(places, chosen, a, b)),
        _ => return Err("constants of different types".into()),
    };
    Ok(Tensor::new(dims, data))
}
