//! The rows of a batch.

use super::*;
use crate::dataset::U8_SCALE;

const LANES: u32 = 64;

/// What an invocation of the variant for software adapters copies of a row.
const WIDE_COLUMNS: u32 = 64;

/// Copies the batch's rows out of the data set: bytes are scaled, rows that a partial batch lacks become zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    /// The features of the whole data set.
    pub features: Tensor,
    /// What is known of the data set.
    pub data: Tensor,
    /// The cursor.
    pub step: Tensor,
    /// \[batch\] row numbers.
    pub indices: Tensor,
    /// \[batch, columns\], written.
    pub x: Tensor,
}

impl Kernel for Gather {
    fn stem(&self) -> &'static str {
        "gather"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.features), read(self.data), read(self.step), read(self.indices), write(self.x)]
    }

    fn flops(&self) -> u64 {
        0
    }

    // From the data set, of which a plan knows a row.
    fn bytes(&self) -> u64 {
        let rest = self.operands().iter().skip(1).map(Operand::traffic).sum::<u64>();
        rest + self.x.bytes()
    }

    /// By rows of any length, in fours or, on software adapters, in eights.
    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        let columns = self.x.columns();
        let quads = columns.div_ceil(4);
        macro_rules! variant {
            ($name:literal, $($file:literal),+) => {
                shader($name, text!("shared/step_state.wgsl", "shared/data_info.wgsl", "gather.functions.wgsl.in", $($file),+), &[])
            };
        }
        let (shader, of_row) = match columns {
            n if n.is_multiple_of(8) && adapter.wide_access => (
                variant!("gather.wide", "software/words.wgsl", "software/gather.wide.wgsl.in"),
                n.div_ceil(WIDE_COLUMNS),
            ),
            n if n.is_multiple_of(4) => (variant!("gather.aligned", "gather.aligned.wgsl.in"), quads),
            _ => (variant!("gather", "gather.wgsl.in"), quads),
        };
        let invocations = self.x.rows() * of_row;
        vec![Launch {
            shader,
            uniforms: uniforms![columns, quads, invocations],
            bindings: self.operands(),
            workgroups: invocations.div_ceil(LANES).into(),
        }]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (features, indices) = (at.words(self.features), at.words(self.indices));
        let (data, rows) = (at.data(self.data), at.step(self.step).rows.min(self.x.rows()));
        let columns = self.x.columns() as usize;
        let (x, missing) = at.out::<f32>(self.x).split_at_mut(rows as usize * columns);
        for (out, &row) in x.chunks_exact_mut(columns).zip(indices) {
            let row = &features[data.feature(row)..];
            if data.bytes != 0 {
                let bytes: &[u8] = bytemuck::cast_slice(row);
                out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = f32::from(byte) * U8_SCALE);
            } else {
                out.copy_from_slice(bytemuck::cast_slice(&row[..columns]));
            }
        }
        missing.fill(0.0);
    }

    fn bounds(&self, _: &Operands<'_>) -> Vec<Bounds> {
        vec![Bounds::Exact]
    }
}
