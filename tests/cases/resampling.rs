//! Checks resampling: weighted sums along rows and columns.

use super::*;

pub fn weighted_sums_along_rows_and_columns(check: &mut Check) -> Result<()> {
    let mut random = Random(77);
    // Each case: [samples, height, width, channels] of the input, [height, width] of the output, maximum number of
    // terms.
    let sizes = [
        ([1, 1, 1, 1], [1, 1], 1),
        ([3, 13, 9, 16], [26, 18], 1),
        ([2, 5, 7, 3], [9, 11], 2),
        ([2, 33, 1, 5], [65, 1], 3),
        ([1, 4, 6, 8], [3, 2], 5),
        ([1, 1, 40, 4], [1, 63], 33),
    ];
    for (input, [rows, columns], most) in sizes {
        let mut axis = |from: u32, to: u32| -> Terms {
            // Each output has up to the maximum number of terms. Some outputs have none.
            let mut place = |i: u32| {
                let count = if i % 7 == 5 { 0 } else { 1 + random.below(most) };
                (0..count).map(|_| (random.below(from), random.f32())).collect()
            };
            (0..to).map(&mut place).collect()
        };
        let axes = [axis(input[1], rows), axis(input[2], columns)];
        let (words, terms) = Resample::table(&axes);
        let [input, output] = [tensor(0, input), tensor(2, [input[0], rows, columns, input[3]])];
        let table = Tensor::new(BufferId(1), Dtype::U32, words.len() as u32);
        let buffers = [
            ("input", input.len(), Role::Activation),
            ("table", table.len(), Role::ResampleTable),
            ("output", output.len(), Role::Activation),
        ];
        let plan = single(&buffers, Resample { input, table, output, terms }.into());
        let what = plan.describe(&plan.step[0]);
        let mut lockstep = check.lockstep(plan)?;
        lockstep.set(BufferId(0), &random.f32s(input.len() as usize))?;
        lockstep.set(BufferId(1), &words)?;
        check.agree(&mut lockstep, &what)?;
    }
    Ok(())
}
