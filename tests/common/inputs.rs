//! Random numbers, and plans of one op, for the kernel cases. They also work in a browser.

use wgrad::Plan;
use wgrad::plan::{Buffer, Op, Role};

/// Random numbers for tests. The xorshift generator makes the data depend only on the seed.
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// A uniform random number from −1 to 1.
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

/// A plan of one op. Each buffer has a name, a length and a role. The buffers of a data set may have any length.
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
