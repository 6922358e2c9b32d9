//! Compares every kernel with its CPU twin on awkward sizes and random data. `Lockstep` first fills the outputs with
//! NaN. Each op's file in `src/ops/` derives its error bounds. `tests/kernels.rs` runs these cases as tests; the
//! example `doctor` runs them on a user's adapter.

#[cfg(target_family = "wasm")]
use wgrad::lockstep::Running;
use wgrad::lockstep::{Comparison, Lockstep};
use wgrad::plan::*;
use wgrad::{
    Activation, AdaBound, Adagrad, Adam, AdamW, Ema, Gpu, Lion, Lookahead, Loss, Network, Optimizer, Result, RmsProp,
    Schedule, Sgd, StepDecay, TrainerConfig,
};

use crate::common::{Random, single};

mod batches;
mod convolutions;
mod encodings;
mod layers;
mod losses;
mod pools;
mod positions;
mod products;
mod resampling;
mod tensors;
mod updates;

/// A named group of checks for one or several kernels.
pub struct Case {
    /// Names of the kernels, without file extension. The test of the first one runs the case.
    pub kernels: &'static [&'static str],
    pub name: &'static str,
    pub run: fn(&mut Check) -> Result<()>,
}

/// All cases.
pub const CASES: &[Case] = &{
    use {
        batches::*, convolutions::*, encodings::*, layers::*, losses::*, pools::*, positions::*, products::*,
        resampling::*, tensors::*, updates::*,
    };
    macro_rules! case {
        ($name:ident, $($kernel:literal)+) => {
            Case { kernels: &[$($kernel),+], name: stringify!($name), run: $name }
        };
    }
    [
        case!(next_batch_shuffles_as_the_reference_does, "next_batch"),
        case!(next_batch_numbers_the_slices_of_a_rank, "next_batch"),
        case!(next_batch_of_the_largest_batch, "next_batch"),
        case!(a_chains_cursor_follows_the_reference, "next_batch"),
        case!(schedules_follow_the_reference_at_every_stage, "next_batch"),
        case!(gather_of_bytes_and_of_floats, "gather"),
        case!(gather_of_channels_with_mean_and_deviation, "gather"),
        case!(images_are_changed_as_the_reference_does, "gather"),
        case!(a_grid_of_more_than_65535_workgroups, "gather"),
        case!(rows_are_copied_from_any_stride_to_any, "copy_rows"),
        case!(matmul_at_awkward_sizes, "matmul"),
        case!(matmul_at_all_awkward_sizes, "matmul"),
        case!(matmul_in_every_layout_with_every_epilogue, "matmul"),
        case!(matmul_with_an_addend_that_is_read_twice, "matmul"),
        case!(matmul_in_parts_of_k, "matmul"),
        case!(convolutions_with_groups, "matmul"),
        case!(matmul_by_panels, "matmul"),
        case!(matmul_in_blocks, "matmul"),
        case!(matmul_near_the_iteration_limit, "matmul"),
        case!(convolutions_in_every_layout_with_every_epilogue, "matmul"),
        case!(every_activation_and_its_derivative, "pointwise"),
        case!(every_second_derivative, "curvature"),
        case!(dropout_masks_are_the_references, "pointwise"),
        case!(two_tensors_number_by_number, "combine"),
        case!(numbers_times_a_constant_plus_another, "scale_shift"),
        case!(rearranged_from_any_strides_to_any, "rearrange"),
        case!(zeros_around_a_tensor, "pad"),
        case!(sums_and_means_along_any_dimensions, "reduce"),
        case!(largest_numbers_and_their_gradient, "reduce" "reduce_max_gradient"),
        case!(pools_and_their_gradients, "pool" "pool_gradient"),
        case!(weighted_sums_along_rows_and_columns, "resample"),
        case!(softmax_and_its_gradient, "softmax"),
        case!(layer_normalisation_and_its_gradients, "layer_norm" "layer_norm_input" "layer_norm_parameters"),
        case!(
            group_and_rms_normalisation_and_their_gradients,
            "layer_norm" "layer_norm_input" "layer_norm_parameters"
        ),
        case!(
            batch_normalisation_and_its_gradients,
            "batch_norm" "channel_statistics" "running_statistics" "batch_norm_parameters" "batch_norm_input"
        ),
        case!(encodings_at_awkward_sizes, "encode"),
        case!(
            hash_grids_at_awkward_sizes,
            "hash_grid" "hash_grid_scale" "hash_grid_scatter" "hash_grid_gradient" "hash_grid_input" "hash_grid_tangent"
        ),
        case!(eikonal_terms_of_long_and_short_rows, "eikonal"),
        case!(narrow_networks_at_awkward_widths, "narrow"),
        case!(narrow_networks_train_at_awkward_widths, "narrow_rows" "narrow_gradients"),
        case!(pointwise_losses_with_every_kind_of_target, "pointwise_loss"),
        case!(pointwise_losses_flag_what_is_not_finite, "pointwise_loss"),
        case!(softmax_cross_entropy_with_every_kind_of_target, "softmax_cross_entropy"),
        case!(softmax_cross_entropy_from_small_to_large, "softmax_cross_entropy"),
        case!(losses_of_positions, "pointwise_loss" "softmax_cross_entropy"),
        case!(losses_of_crops, "pointwise_loss" "softmax_cross_entropy"),
        case!(ignored_labels_count_for_nothing, "pointwise_loss" "softmax_cross_entropy"),
        case!(losses_with_weights, "pointwise_loss" "softmax_cross_entropy"),
        case!(losses_in_parts_of_a_buffer, "pointwise_loss" "softmax_cross_entropy" "metrics" "non_finite"),
        case!(running_losses_move_up_levels, "pointwise_loss" "softmax_cross_entropy"),
        case!(softmax_cross_entropy_flags_what_is_not_finite, "softmax_cross_entropy"),
        case!(metrics_sum_every_row, "metrics"),
        case!(numbers_that_are_not_finite_mark_the_totals, "non_finite"),
        case!(updates_average_weights, "update"),
        case!(updates_decay_weights_by_an_amount, "update"),
        case!(gradients_of_several_batches_accumulate, "accumulate"),
        case!(slices_are_summed_in_their_order, "sum_slices" "combine_slices"),
        case!(a_norm_has_a_limit, "sum_squares"),
        case!(a_norm_beyond_f32_has_a_limit, "sum_squares"),
        case!(every_optimizer_updates_at_awkward_lengths, "update"),
        case!(adam_updates_at_early_and_late_steps, "update"),
        case!(adam_skips_zero_gradients, "update"),
        case!(updates_with_groups_limits_and_accumulation, "update"),
        case!(updates_at_the_edges_of_the_numbers, "update"),
    ]
};

/// Collects the results of the checks of a case.
pub struct Check<'a> {
    gpu: &'a Gpu,
    /// Whether to corrupt an input on the GPU before each op. Every case must then report a fault.
    falsify: bool,
    /// Number of compared ops.
    pub compared: usize,
    /// The largest error, as a fraction of its bound.
    pub worst: f64,
    /// The faults found.
    pub faults: Vec<String>,
    /// Results that [`finish`](Self::finish) will judge, because a browser cannot block.
    #[cfg(target_family = "wasm")]
    running: Vec<(Running, Verdict)>,
}

#[cfg(target_family = "wasm")]
type Verdict = Box<dyn FnOnce(&mut Check<'_>, Vec<Comparison>)>;

impl<'a> Check<'a> {
    pub fn new(gpu: &'a Gpu, falsify: bool) -> Self {
        Self {
            gpu,
            falsify,
            compared: 0,
            worst: 0.0,
            faults: Vec::new(),
            #[cfg(target_family = "wasm")]
            running: Vec::new(),
        }
    }

    /// A lockstep with the kernels that training uses.
    fn lockstep(&self, plan: Plan) -> Result<Lockstep> {
        // SAFETY: the cases make plans and buffers with the lengths that their ops state.
        unsafe { Lockstep::new_unchecked(self.gpu, plan) }
    }

    /// The outputs of each op must agree within their bounds.
    fn agree(&mut self, lockstep: &mut Lockstep, what: &str) -> Result<()> {
        self.compare(lockstep, what, f64::INFINITY)
    }

    /// The outputs of each op must be equal.
    fn exact(&mut self, lockstep: &mut Lockstep, what: &str) -> Result<()> {
        self.compare(lockstep, what, 0.0)
    }

    fn compare(&mut self, lockstep: &mut Lockstep, what: &str, most: f64) -> Result<()> {
        if self.falsify {
            falsify(lockstep);
        }
        let what = what.to_owned();
        self.run(lockstep, move |check, comparisons| check.judge(&what, most, comparisons))
    }

    /// Runs the ops and judges the results: at once, or at the end of the case in a browser.
    fn run(
        &mut self,
        lockstep: &mut Lockstep,
        verdict: impl FnOnce(&mut Check<'_>, Vec<Comparison>) + 'static,
    ) -> Result<()> {
        if self.falsify && !self.faults.is_empty() {
            return Ok(()); // One fault is enough.
        }
        #[cfg(not(target_family = "wasm"))]
        verdict(self, lockstep.run()?);
        #[cfg(target_family = "wasm")]
        self.running.push((lockstep.start()?, Box::new(verdict)));
        Ok(())
    }

    #[cfg(target_family = "wasm")]
    pub async fn finish(&mut self) -> Result<()> {
        for (running, verdict) in std::mem::take(&mut self.running) {
            let comparisons = running.finish().await?;
            verdict(self, comparisons);
        }
        Ok(())
    }

    fn judge(&mut self, what: &str, most: f64, comparisons: Vec<Comparison>) {
        for comparison in comparisons {
            self.compared += 1;
            self.worst = self.worst.max(comparison.worst);
            let kernel = comparison.op.split([' ', ':']).next().unwrap_or_default();
            match comparison.divergence {
                Some(divergence) => self.faults.push(format!("{what}: {kernel}: {divergence}")),
                None if comparison.skipped.is_some() => self.faults.push(format!("{what}: {comparison}")),
                None if comparison.worst > most => {
                    self.faults.push(format!("{what}: {kernel}: not exact, {:.1e} of the bound", comparison.worst));
                }
                None => {}
            }
        }
    }

    fn expect(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.faults.push(what());
        }
    }
}

/// Corrupts an input of the first op on the GPU only. It adds 1 to the first numbers that the op reads; a mask may hide
/// some. It does not change addresses or counts, because a kernel without bounds checks needs them.
fn falsify(lockstep: &mut Lockstep) {
    let plan = lockstep.plan();
    let is_number = |t: &Tensor| {
        !matches!(
            plan.buffer(t.buffer).role,
            Role::Features(_) | Role::Targets(_) | Role::Data(_) | Role::Step | Role::Indices
        )
    };
    let wrong = match plan.step.first() {
        // The seed that orders the rows, and the factor of the learning rate.
        Some(Op::NextBatch(op)) => {
            let seed = std::mem::offset_of!(DataInfo, seed_low) / 4;
            let rate_scale = std::mem::offset_of!(StepState, rate_scale) / 4;
            vec![(op.data.buffer, seed), (op.step.buffer, rate_scale)]
        }
        // All features, because the batch takes rows from anywhere.
        Some(Op::Gather(op)) => {
            let words = lockstep.get(op.features.buffer).len();
            (0..words).map(|word| (op.features.buffer, word)).collect()
        }
        Some(op) => {
            let number = op.inputs().into_iter().find(is_number).into_iter();
            number.flat_map(|t| (t.offset..t.offset + t.len().min(16)).map(move |i| (t.buffer, i as usize))).collect()
        }
        None => vec![],
    };
    for (buffer, word) in wrong {
        lockstep.disturb_gpu(buffer, word, 1.0);
    }
}

/// Lengths of the shared structs, in words.
const DATA: u32 = (size_of::<DataInfo>() / 4) as u32;
const STEP: u32 = (size_of::<StepState>() / 4) as u32;

fn tensor(buffer: usize, shape: impl Into<Shape>) -> Tensor {
    Tensor::new(BufferId(buffer), Dtype::F32, shape)
}

fn step_state(step: u32, rows: u32) -> StepState {
    StepState { step, rows, ..StepState::default() }
}
