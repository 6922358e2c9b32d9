//! Random numbers, and plans of one op: what the cases of the kernels are made from, in a browser too.

use wgrad::Plan;
use wgrad::plan::{Buffer, Op, Role};

/// Random numbers for tests: xorshift, so that a test's data depend on nothing but its seed.
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// Uniform in −1 to 1.
    pub fn f32(&mut self) -> f32 {
        self.word() as f32 / 2_147_483_648.0 - 1.0
    }

    pub fn f32s(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.f32()).collect()
    }

    pub fn below(&mut self, n: u32) -> u32 {
        self.word() % n
    }
}

/// A plan of one op, its buffers by name, length and role; a data set's have the length that they are given.
pub fn single(buffers: &[(&str, u32, Role)], op: Op) -> Plan {
    let buffers = buffers
        .iter()
        .map(|&(name, len, role)| Buffer {
            name: name.into(),
            dtype: role.dtype(),
            shape: (!matches!(role, Role::Features(_) | Role::Targets(_))).then(|| len.into()),
            role,
            contents: vec![],
            memory: None,
        })
        .collect();
    Plan { name: "single", batch: 1, buffers, step: vec![op], report: vec![] }
}
