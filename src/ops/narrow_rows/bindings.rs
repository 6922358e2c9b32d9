//! What the buffers of [`NarrowRows`] hold, and their declarations in a kernel.

use super::*;

/// What a buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Features,
    Data,
    Step,
    Indices,
    Targets,
    Metrics,
    Parameters,
    /// Rows of the batch. The number counts these buffers, those that are written first.
    Values(usize),
}

impl NarrowRows {
    /// What each of the [`buffers`](Self::buffers) holds.
    pub(super) fn contents(&self) -> Vec<Holds> {
        let fixed = |buffer: BufferId| self.parts.iter().find_map(|part| of_part(part, buffer));
        let mut contents: Vec<Option<Holds>> = self.buffers.iter().map(|(whole, _)| fixed(whole.buffer)).collect();
        let is_written: Vec<bool> = self.buffers.iter().map(|&(_, access)| access != Access::Read).collect();
        let mut count = 0;
        for written in [true, false] {
            for i in (0..contents.len()).filter(|&i| is_written[i] == written) {
                if contents[i].is_none() {
                    contents[i] = Some(Holds::Values(count));
                    count += 1;
                }
            }
        }
        contents.into_iter().flatten().collect()
    }

    /// Declarations of the bindings. `values` is the element type of the rows, and `parameters` that of the parameters.
    pub(super) fn declarations(&self, values: &str, parameters: &str) -> String {
        let mut text = text!("shared/step_state.wgsl", "shared/data_info.wgsl", "shared/row_metrics.wgsl").to_owned();
        for (i, (holds, &(_, access))) in self.contents().into_iter().zip(&self.buffers).enumerate() {
            let (name, ty) = match holds {
                Holds::Features => ("features".into(), "array<u32>".into()),
                Holds::Data => ("data".into(), "DataInfo".into()),
                Holds::Step => ("state".into(), "StepState".into()),
                Holds::Indices => ("indices".into(), "array<u32>".into()),
                Holds::Targets => ("targets".into(), "array<u32>".into()),
                Holds::Metrics => ("metrics".into(), "array<RowMetrics>".into()),
                Holds::Parameters => ("parameters".into(), format!("array<{parameters}>")),
                Holds::Values(number) => (format!("values_{number}"), format!("array<{values}>")),
            };
            let access = if access == Access::Read { "read" } else { "read_write" };
            text += &format!("@group(0) @binding({}) var<storage, {access}> {name}: {ty};\n", i + 1);
        }
        text
    }

    /// Number of the buffer of rows that holds a tensor, and the tensor's first word in it.
    pub(super) fn values(&self, tensor: Tensor) -> (usize, u32) {
        let (at, offset) = self.place(tensor);
        match self.contents()[at] {
            Holds::Values(number) => (number, offset),
            other => unreachable!("{tensor:?} is in {other:?}"),
        }
    }

    /// First word of a tensor of parameters.
    pub(super) fn parameter(&self, tensor: Tensor) -> u32 {
        self.place(tensor).1
    }

    /// Length of the parameters in words.
    pub(super) fn parameter_words(&self) -> u32 {
        let all = self.buffers.iter().zip(self.contents());
        all.filter(|(_, holds)| *holds == Holds::Parameters).map(|((whole, _), _)| whole.len()).sum()
    }
}

/// What a part finds in a buffer, except for rows.
fn of_part(part: &Op, buffer: BufferId) -> Option<Holds> {
    let known = match part {
        Op::Gather(Gather { features, data, step, indices, .. }) => {
            vec![(*features, Holds::Features), (*data, Holds::Data), (*step, Holds::Step), (*indices, Holds::Indices)]
        }
        Op::LossOp(LossOp { targets, data, step, indices, metrics, .. }) => vec![
            (*targets, Holds::Targets),
            (*data, Holds::Data),
            (*step, Holds::Step),
            (*indices, Holds::Indices),
            (*metrics, Holds::Metrics),
        ],
        Op::HashGridForward(HashGridForward { table, .. }) => vec![(*table, Holds::Parameters)],
        Op::Matmul(matmul) => {
            let bias = if let Epilogue::Bias { bias, .. } = matmul.epilogue { bias } else { None };
            [Some(matmul.b), bias].into_iter().flatten().map(|tensor| (tensor, Holds::Parameters)).collect()
        }
        _ => vec![],
    };
    known.into_iter().find(|(tensor, _)| tensor.buffer == buffer).map(|(_, holds)| holds)
}
