//! Encodings as elementary nodes.

use std::f32::consts::PI;

use super::{Exporter, Order, Outputs, int, one};
use crate::encoding::{Encoding, columns};
use crate::network::Node;
use crate::onnx::Result;
use crate::ops::harmonic_norm;

/// Encodings of parts of a row, with their numbers of coordinates.
pub(super) fn encoding(exp: &mut Exporter, node: &Node, parts: &[(u32, Encoding)]) -> Result<Outputs> {
    let x = exp.input(node, 0, Order::ChannelsLast);
    if let &[(coordinates, encoding)] = parts {
        return one(exp.encoded(x, coordinates, encoding)?, Order::ChannelsLast);
    }
    let mut features = Vec::new();
    for (encoding, coordinates, _) in columns(parts) {
        let part = exp.part(&x, std::iter::once((1, coordinates.start, coordinates.end)));
        features.push(exp.encoded(part, coordinates.end - coordinates.start, encoding)?);
    }
    let features: Vec<&str> = features.iter().map(String::as_str).collect();
    one(exp.node("Concat", &features, vec![int("axis", 1)]), Order::ChannelsLast)
}

/// A number that is the same for all directions, or a value.
#[derive(Clone)]
enum Term {
    Number(f64),
    Value(String),
}

impl Exporter<'_> {
    fn encoded(&mut self, x: String, coordinates: u32, encoding: Encoding) -> Result<String> {
        let features = match encoding {
            Encoding::Identity { scale: 1.0, offset: 0.0 } => return Ok(self.node("Identity", &[&x], vec![])),
            Encoding::Identity { scale, offset } => return Ok(self.scaled(x, scale, offset)),
            Encoding::Frequency { frequencies } => self.frequency(&x, coordinates, frequencies),
            Encoding::TriangleWave { frequencies } => self.triangle_wave(&x, coordinates, frequencies),
            Encoding::OneBlob { bins } => self.one_blob(&x, coordinates, bins),
            Encoding::SphericalHarmonics { degree } => self.harmonics(&x, coordinates / 3, degree),
            Encoding::HashGrid(_) => return Err("ONNX has no operators for a hash grid".into()),
        };
        Ok(self.reshape(&features, &[encoding.features_of(coordinates)]))
    }

    fn binary(&mut self, op: &str, a: &str, b: &str) -> String {
        self.node(op, &[a, b], vec![])
    }

    /// 2ᵏ x for each coordinate and each k, reduced by a multiple of 2 to the range −1 to 1. The reduction is exact.
    fn waves(&mut self, x: &str, coordinates: u32, frequencies: u32) -> String {
        let x = self.reshape(x, &[coordinates, 1]);
        let powers = self.floats(&[frequencies.into()], (0..frequencies).map(|k| 2f32.powi(k as i32)).collect());
        let t = self.binary("Mul", &x, &powers);
        let half = self.scaled(t.clone(), 0.5, 0.0);
        let rounded = self.node("Round", &[&half], vec![]);
        let periods = self.scaled(rounded, 2.0, 0.0);
        self.binary("Sub", &t, &periods)
    }

    fn frequency(&mut self, x: &str, coordinates: u32, frequencies: u32) -> String {
        let waves = self.waves(x, coordinates, frequencies);
        let angles = self.scaled(waves, PI, 0.0);
        let both = ["Sin", "Cos"].map(|op| {
            let values = self.node(op, &[&angles], vec![]);
            self.reshape(&values, &[coordinates, frequencies, 1])
        });
        self.node("Concat", &[&both[0], &both[1]], vec![int("axis", 3)])
    }

    /// 2 (t − 2 relu(t − ½) + 2 relu(−t − ½)). It is exact.
    fn triangle_wave(&mut self, x: &str, coordinates: u32, frequencies: u32) -> String {
        let waves = self.waves(x, coordinates, frequencies);
        let [above, below] = [1.0, -1.0].map(|sign| {
            let shifted = self.scaled(waves.clone(), sign, -0.5);
            self.node("Relu", &[&shifted], vec![])
        });
        let back = self.binary("Sub", &below, &above);
        let back = self.scaled(back, 2.0, 0.0);
        let sum = self.binary("Add", &waves, &back);
        self.scaled(sum, 2.0, 0.0)
    }

    /// The integral 15/16 (t − 2/3 t³ + t⁵/5) of the kernel at the edges of the bins, and its differences.
    fn one_blob(&mut self, x: &str, coordinates: u32, bins: u32) -> String {
        let x = self.reshape(x, &[coordinates, 1]);
        let scaled = self.scaled(x, -(bins as f32), 0.0);
        let edges = self.floats(&[u64::from(bins) + 1], (0..=bins).map(|edge| edge as f32).collect());
        let t = self.binary("Add", &scaled, &edges);
        let bounds = [self.number(-1.0), self.number(1.0)];
        let t = self.node("Clip", &[&t, &bounds[0], &bounds[1]], vec![]);
        let square = self.binary("Mul", &t, &t);
        let inner = self.scaled(square.clone(), 3.0 / 16.0, -5.0 / 8.0);
        let outer = self.binary("Mul", &square, &inner);
        let factor = self.scaled(outer, 1.0, 15.0 / 16.0);
        let integral = self.binary("Mul", &t, &factor);
        let [right, left] = [1, 0].map(|start| self.part(&integral, std::iter::once((2, start, start + bins))));
        self.binary("Sub", &right, &left)
    }

    /// The polynomials of `shaders/encodings/spherical_harmonics.wgsl.in`: norm · Q(z) · part of (x + iy)^|m|.
    fn harmonics(&mut self, x: &str, directions: u32, degree: u32) -> String {
        let directed = self.reshape(x, &[directions, 3]);
        let [x, y, z] = [0, 1, 2].map(|axis| Term::Value(self.part(&directed, std::iter::once((2, axis, axis + 1)))));
        let mut power = [Term::Number(1.0), Term::Number(0.0)];
        let mut features = vec![String::new(); (degree * degree) as usize];
        for m in 0..degree {
            let mut q = Term::Number((1..m).map(|i| f64::from(2 * i + 1)).product());
            let mut before = Term::Number(0.0);
            for l in m..degree {
                if l > m {
                    let [a, b, c] = [2 * l - 1, l + m - 1, l - m].map(f64::from);
                    let first = self.times(&q, &z);
                    let first = self.times(&first, &Term::Number(a / c));
                    let second = self.times(&before, &Term::Number(-b / c));
                    (before, q) = (q, self.plus(&first, &second));
                }
                let scaled = self.times(&q, &Term::Number(harmonic_norm(l, m)));
                for (part, k) in [(0, l * l + l + m), (1, l * l + l - m)].into_iter().take(if m == 0 { 1 } else { 2 }) {
                    features[k as usize] = match self.times(&scaled, &power[part]) {
                        Term::Value(name) => name,
                        Term::Number(number) => self.same(&z, number),
                    };
                }
            }
            if m + 1 == degree {
                break;
            }
            let [re, im] = power;
            let products = [(&re, &x), (&im, &y), (&re, &y), (&im, &x)].map(|(a, b)| self.times(a, b));
            let negative = self.times(&products[1], &Term::Number(-1.0));
            power = [self.plus(&products[0], &negative), self.plus(&products[2], &products[3])];
        }
        let features: Vec<&str> = features.iter().map(String::as_str).collect();
        self.node("Concat", &features, vec![int("axis", 2)])
    }

    /// A number for each direction.
    fn same(&mut self, like: &Term, number: f64) -> String {
        let Term::Value(like) = like else { return self.number(number as f32) };
        self.scaled(like.clone(), 0.0, number as f32)
    }

    fn times(&mut self, a: &Term, b: &Term) -> Term {
        match (a, b) {
            (Term::Number(a), Term::Number(b)) => Term::Number(a * b),
            (Term::Number(0.0), _) | (_, Term::Number(0.0)) => Term::Number(0.0),
            (Term::Number(number), Term::Value(value)) | (Term::Value(value), Term::Number(number)) => {
                Term::Value(self.scaled(value.clone(), *number as f32, 0.0))
            }
            (Term::Value(a), Term::Value(b)) => Term::Value(self.binary("Mul", a, b)),
        }
    }

    fn plus(&mut self, a: &Term, b: &Term) -> Term {
        match (a, b) {
            (Term::Number(a), Term::Number(b)) => Term::Number(a + b),
            (Term::Number(number), Term::Value(value)) | (Term::Value(value), Term::Number(number)) => {
                Term::Value(self.scaled(value.clone(), 1.0, *number as f32))
            }
            (Term::Value(a), Term::Value(b)) => Term::Value(self.binary("Add", a, b)),
        }
    }
}
