//! Arithmetic on two or more values, with broadcasting.

use super::{Entry, Importer, Op, one};
use crate::activation::Activation;
use crate::network::{Layer, Value};
use crate::onnx::layout::{Factor, View, count, merged, permutation};
use crate::onnx::tensor::{Data, Tensor, broadcast};
use crate::onnx::{Result, fold};

impl Importer<'_> {
    /// A value or a constant times a number.
    pub fn scaled(&mut self, entry: &Entry, scale: f32) -> Result<Entry> {
        Ok(match entry {
            Entry::View(view) => Entry::View(View { value: self.scale_shift(scale, 0.0, view.value)?, ..view.clone() }),
            Entry::Constant(tensor) => Entry::Constant(tensor.map(|value| scale * value)?),
        })
    }

    /// The value after an activation.
    pub fn after(&mut self, view: &View, activation: Activation) -> Result<View> {
        Ok(View { value: self.activation(activation, view.value)?, ..view.clone() })
    }

    /// Splits the factors of some dimensions of both values alike, and gives them the same numbers.
    pub fn unified(&mut self, lead: &mut View, other: &mut View, dims: &[usize], can_move: bool) -> Result<()> {
        let alike = dims.iter().all(|&d| lead.refine(d, other, d, &mut self.factors));
        if !alike {
            if !can_move {
                return Err("a constant whose shape divides the other value differently".into());
            }
            // In ONNX's own order, factors of any lengths will do.
            let ordered = self.in_order(other)?;
            *other = ordered;
            for dim in 0..other.dims.len() {
                other.dims[dim] = match dims.contains(&dim) {
                    true => lead.dims[dim].iter().map(|factor| self.factors.make(factor.length)).collect(),
                    false => self.factors.of(count(&other.dims[dim]))?,
                };
            }
            other.order = other.logical();
        }
        for &d in dims {
            for i in 0..lead.dims[d].len() {
                let (from, to) = (other.dims[d][i], lead.dims[d][i]);
                for list in other.dims.iter_mut().chain([&mut other.order]) {
                    list.iter_mut().filter(|factor| **factor == from).for_each(|factor| *factor = to);
                }
            }
        }
        Ok(())
    }

    /// The elementwise sum or product of two entries. At least one is no constant.
    pub fn combined(&mut self, a: &Entry, b: &Entry, multiply: bool) -> Result<View> {
        let (lead, other) = match (a, b) {
            (Entry::View(a), b) => (a, b),
            (a, Entry::View(b)) => (b, a),
            _ => return Err("two constants".into()),
        };
        let mut lead = lead.clone();
        let (mut other, data) = match other {
            Entry::View(view) => (view.renamed(&mut self.factors), None),
            Entry::Constant(tensor) => {
                let Data::F32(_) = tensor.data else { return Err("a constant that is no float".into()) };
                let mut tensor = tensor.finite();
                if tensor.dims.len() > lead.dims.len() && self.batch == 1 {
                    match tensor.dims.first() {
                        Some(1) if tensor.dims.len() == lead.dims.len() + 1 => tensor.dims.remove(0),
                        _ => return Err(format!("a constant of the shape {:?} beside a batch", tensor.dims)),
                    };
                }
                let wide = broadcast(&tensor.dims, &lead.lengths())?;
                if let Some(value) = tensor.uniform()
                    && wide == lead.lengths()
                {
                    let (scale, shift) = if multiply { (value, 0.0) } else { (1.0, value) };
                    return Ok(View { value: self.scale_shift(scale, shift, lead.value)?, ..lead });
                }
                (self.view(lead.value, &tensor.dims)?, Some(tensor))
            }
        };
        if data.is_none() && self.batch == 1 && lead.dims.len() != other.dims.len() {
            return Err("two values of different numbers of dimensions, so that one has its batch elsewhere".into());
        }
        let rank = lead.dims.len().max(other.dims.len());
        for view in [&mut lead, &mut other] {
            while view.dims.len() < rank {
                view.dims.insert(0, vec![]);
                view.channels = view.channels.map(|channels| channels + 1);
            }
        }
        broadcast(&lead.lengths(), &other.lengths())?;
        let common: Vec<usize> = (0..rank).filter(|&d| count(&lead.dims[d]) > 1 && count(&other.dims[d]) > 1).collect();
        self.unified(&mut lead, &mut other, &common, data.is_none())?;
        let dims: Vec<Vec<Factor>> = (0..rank)
            .map(|d| if lead.dims[d].is_empty() { other.dims[d].clone() } else { lead.dims[d].clone() })
            .collect();
        let holds = |view: &View| dims.iter().flatten().all(|factor| view.order.contains(factor));
        let order = match (holds(&lead), data.is_none() && holds(&other)) {
            (true, _) => lead.order.clone(),
            (_, true) => other.order.clone(),
            _ => dims.concat(),
        };
        let of = |view: &View| order.iter().filter(|factor| view.order.contains(factor)).copied().collect::<Vec<_>>();
        let marks = |factor: &Factor| [lead.order.contains(factor), other.order.contains(factor)];
        let shapes = merged(order.iter().map(|factor| (factor.length.into(), marks(factor))));
        if shapes.len() > 4 {
            return Err("a broadcast of more than 4 dimensions".into());
        }
        // Two values of one shape need no reshape.
        if data.is_none() && shapes.len() <= 1 && shapes.iter().all(|(_, has)| *has == [true; 2]) {
            let values = [self.arranged(&lead, of(&lead))?.value, self.arranged(&other, of(&other))?.value];
            let shape = self.shape(values[0])?;
            let values = if self.shape(values[1])? == shape {
                values
            } else {
                [values[0], self.shaped(values[1], &shape.iter().map(|&d| d.into()).collect::<Vec<_>>())?]
            };
            let value = self.layer(if multiply { Layer::Multiply } else { Layer::Add }, &values)?;
            return Ok(View { value, dims, order, batch_at: 0, channels: lead.channels.or(other.channels) });
        }
        let side = |i: usize| shapes.iter().map(|(length, has)| if has[i] { *length } else { 1 }).collect::<Vec<_>>();
        let (first, second) = (self.arranged(&lead, of(&lead))?, of(&other));
        let first = self.shaped(first.value, &side(0))?;
        let second = match data {
            None => {
                let value = self.arranged(&other, second)?.value;
                self.shaped(value, &side(1))?
            }
            Some(tensor) => {
                let tensor = match permutation(&other.logical(), &second) {
                    Some(places) => tensor.gathered(tensor.dims.clone(), places.into_iter()),
                    None => tensor,
                };
                self.constant(&Tensor { dims: side(1), ..tensor }, None)?.value
            }
        };
        let value = self.layer(if multiply { Layer::Multiply } else { Layer::Add }, &[first, second])?;
        Ok(View { value, dims, order, batch_at: 0, channels: lead.channels.or(other.channels) })
    }

    /// x to the power of a constant.
    pub fn power(&mut self, x: Value, exponent: f32) -> Result<Value> {
        let function = super::functions::elementary;
        Ok(match exponent {
            0.0 => self.scale_shift(0.0, 1.0, x)?,
            1.0 => x,
            0.5 => self.activation(function("sqrt")?, x)?,
            -1.0 => self.activation(function("reciprocal")?, x)?,
            -0.5 => {
                let root = self.activation(function("sqrt")?, x)?;
                self.activation(function("reciprocal")?, root)?
            }
            _ if exponent.fract() == 0.0 && (2.0..=8.0).contains(&exponent) => {
                self.layer(Layer::Multiply, &vec![x; exponent as usize])?
            }
            _ if exponent.fract() == 0.0 && (9.0..=1024.0).contains(&exponent) => {
                let half = self.power(x, (exponent / 2.0).floor())?;
                let rest = if exponent % 2.0 == 0.0 { vec![half; 2] } else { vec![half, half, x] };
                self.layer(Layer::Multiply, &rest)?
            }
            _ if exponent.fract() == 0.0 && (-1024.0..=-2.0).contains(&exponent) => {
                let positive = self.power(x, -exponent)?;
                self.activation(function("reciprocal")?, positive)?
            }
            // Defined for positive numbers only, as are fractional powers.
            _ if exponent.fract() != 0.0 && exponent.is_finite() => {
                let log = self.activation(function("log")?, x)?;
                let scaled = self.scale_shift(exponent, 0.0, log)?;
                self.activation(function("exp")?, scaled)?
            }
            _ => {
                return Err(format!(
                    "the power {exponent}; supported are whole numbers from -1024 to 1024, and fractions"
                ));
            }
        })
    }
}

/// The reciprocal of an entry.
fn reciprocal(imp: &mut Importer, entry: &Entry) -> Result<Entry> {
    Ok(match entry {
        Entry::View(view) => Entry::View(imp.after(view, super::functions::elementary("reciprocal")?)?),
        Entry::Constant(tensor) => Entry::Constant(tensor.map(|value| 1.0 / value)?),
    })
}

/// The second operand of versions before 7, whose first dimension is that of the attribute `axis`.
fn aligned(imp: &Importer, op: &Op) -> Result<Option<Entry>> {
    if op.node.attribute("axis").is_none() {
        return Ok(None);
    }
    let (a, b) = match (op.entry(0)?, op.entry(1)?) {
        (Entry::View(a), Entry::Constant(b)) => (a, b),
        (Entry::View(a), Entry::View(b)) if a.dims.len() == b.dims.len() => return Ok(None),
        _ => return Err("attribute axis: supported only with a constant as second input".into()),
    };
    let rank = a.dims.len() + imp.batch;
    let first = fold::axis(op.node.int("axis", 0)?, rank)?;
    let missing = (rank - first).checked_sub(b.dims.len()).ok_or("attribute axis: too large")?;
    let dims = b.dims.iter().copied().chain(std::iter::repeat_n(1, missing)).collect();
    Ok(Some(Entry::Constant(b.reshaped(dims)?)))
}

pub(super) fn binary(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let aligned = aligned(imp, op)?;
    let (a, b) = (op.entry(0)?, aligned.as_ref().map_or_else(|| op.entry(1), Ok)?);
    if op.node.outputs.first().is_some_and(|name| imp.biased.contains(name)) {
        // The layer before it has the other input as its bias.
        return Ok(vec![if let Entry::View(_) = a { a.clone() } else { b.clone() }]);
    }
    let y = match &*op.node.op {
        "Add" => imp.combined(a, b, false)?,
        "Sub" => {
            let b = imp.scaled(b, -1.0)?;
            imp.combined(a, &b, false)?
        }
        "Mul" => match sigmoid_of(imp, op, a, b) {
            Some(silu) => silu?,
            None => imp.combined(a, b, true)?,
        },
        _ => {
            let b = reciprocal(imp, b)?;
            imp.combined(a, &b, true)?
        }
    };
    one(y)
}

/// x · sigmoid(x), if a product is one.
fn sigmoid_of(imp: &mut Importer, op: &Op, a: &Entry, b: &Entry) -> Option<Result<View>> {
    let (Entry::View(a), Entry::View(b)) = (a, b) else { return None };
    let names = [op.node.inputs.first()?, op.node.inputs.get(1)?];
    for (x, gate, name) in [(a, b, names[1]), (b, a, names[0])] {
        if imp.sigmoids.get(name.as_str()).is_some_and(|of| *of == x.value) && x.order == gate.order {
            return Some(imp.after(x, Activation::Silu));
        }
    }
    None
}

pub(super) fn several(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let mut entries = (0..op.inputs.len()).map(|i| op.entry(i)).collect::<Result<Vec<_>>>()?;
    // Computed values come first: max(c, x) = c + relu(x - c) would lose x beside a large constant c.
    entries.sort_by_key(|entry| matches!(entry, Entry::Constant(_)));
    let [first, rest @ ..] = &entries[..] else { return Err("no inputs".into()) };
    let mut so_far = (*first).clone();
    for other in rest {
        so_far = Entry::View(match &*op.node.op {
            "Sum" | "Mean" => imp.combined(&so_far, other, false)?,
            // max(a, b) = a + relu(b - a), and min(a, b) = a - relu(a - b).
            of => {
                let sign = if of == "Max" { 1.0 } else { -1.0 };
                let negative = imp.scaled(&so_far, -1.0)?;
                let difference = imp.combined(&negative, other, false)?;
                let signed = imp.scaled(&Entry::View(difference), sign)?;
                let Entry::View(signed) = signed else { return Err("two constants".into()) };
                let more = Entry::View(imp.after(&signed, Activation::Relu)?);
                let more = imp.scaled(&more, sign)?;
                imp.combined(&more, &so_far, false)?
            }
        });
    }
    if op.node.op == "Mean" {
        so_far = imp.scaled(&so_far, 1.0 / entries.len() as f32)?;
    }
    Ok(vec![so_far])
}

pub(super) fn pow(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (x, exponents) = (op.view(0)?, fold::cast(op.constant(1)?, 1)?);
    let Data::F32(values) = &exponents.data else { return Err("exponents that are no numbers".into()) };
    let [first, rest @ ..] = &values[..] else { return Err("no exponents".into()) };
    if rest.iter().all(|value| value == first) && broadcast(&exponents.dims, &x.lengths())? == x.lengths() {
        return one(View { value: imp.power(x.value, *first)?, ..x });
    }
    one(powers(imp, &x, &exponents, values)?)
}

/// Powers with an exponent for each element. Fractional ones are defined for positive x only: exp(e · log x). For whole
/// ones it is exp(e · log |x|), with the sign of x if e is odd.
fn powers(imp: &mut Importer, x: &View, exponents: &Tensor, values: &[f32]) -> Result<View> {
    let function = super::functions::elementary;
    if values.iter().all(|e| e.fract() != 0.0 && e.is_finite()) {
        let log = imp.after(x, function("log")?)?;
        let scaled = imp.combined(&Entry::View(log), &Entry::Constant(exponents.clone()), true)?;
        return imp.after(&scaled, function("exp")?);
    }
    if !values.iter().all(|e| e.fract() == 0.0 && e.abs() <= 1024.0) {
        return Err("several exponents; supported are only whole numbers from -1024 to 1024, or only fractions".into());
    }
    let magnitude = imp.after(x, function("abs")?)?;
    // The logarithm of 0 is finite, so that 0 to the power of 0 is 1.
    let value = imp.scale_shift(1.0, f32::MIN_POSITIVE, magnitude.value)?;
    let log = imp.after(&View { value, ..magnitude }, function("log")?)?;
    let scaled = imp.combined(&Entry::View(log), &Entry::Constant(exponents.clone()), true)?;
    let power = imp.after(&scaled, function("exp")?)?;
    if values.iter().all(|e| e % 2.0 == 0.0) {
        return Ok(power);
    }
    let odd = exponents.map(|e| (e % 2.0).abs())?;
    let sign = imp.after(x, function("sign")?)?;
    // sign · odd + (1 - odd)
    let odd_sign = imp.combined(&Entry::View(sign), &Entry::Constant(odd.clone()), true)?;
    let even = odd.map(|odd| 1.0 - odd)?;
    let sign = imp.combined(&Entry::View(odd_sign), &Entry::Constant(even), false)?;
    imp.combined(&Entry::View(power), &Entry::View(sign), true)
}

/// relu(x) - slope · relu(-x).
pub(super) fn prelu(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (x, mut slope) = (op.view(0)?, op.constant(1)?.clone());
    if imp.opset < 7 && slope.dims.len() == 1 && slope.len() > 1 {
        // One slope for each channel.
        slope.dims.extend(std::iter::repeat_n(1, (x.dims.len() + imp.batch).saturating_sub(2)));
    }
    if let Some(slope) = slope.uniform()
        && slope >= 0.0
    {
        return one(imp.after(&x, Activation::LeakyRelu(slope))?);
    }
    let above = imp.after(&x, Activation::Relu)?;
    let Entry::View(negative) = imp.scaled(&Entry::View(x.clone()), -1.0)? else { return Err("a constant".into()) };
    let below = imp.after(&negative, Activation::Relu)?;
    let negative_slope = imp.scaled(&Entry::Constant(slope), -1.0)?;
    let below = imp.combined(&Entry::View(below), &negative_slope, true)?;
    one(imp.combined(&Entry::View(above), &Entry::View(below), false)?)
}

pub(super) fn expand(imp: &mut Importer, op: &Op) -> Result<Vec<Entry>> {
    let (x, to) = (imp.viewed(op.entry(0)?)?, op.constant(1)?.to_ints()?);
    let rank = x.dims.len() + imp.batch;
    let mut to: Vec<_> = to.into_iter().collect();
    if imp.batch == 1 && to.len() == rank {
        let first = to.remove(0);
        if !(first.rows == 1 && first.at == 0 || first.rows == 0 && (first.at == 1 || Some(first.at) == imp.rows)) {
            return Err("it repeats the batch".into());
        }
    } else if imp.batch == 1 && to.len() > rank {
        return Err("it adds dimensions before the batch".into());
    }
    let to = to.into_iter().map(|d| u64::try_from(d.known()?).map_err(|_| "a negative dimension".into()));
    let to = to.collect::<Result<Vec<u64>>>()?;
    if broadcast(&x.lengths(), &to)? == x.lengths() {
        return one(x);
    }
    let ones = Tensor::new(to, Data::F32([1.0].into()));
    one(imp.combined(&Entry::View(x), &Entry::Constant(ones), true)?)
}
