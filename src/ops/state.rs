//! What kernels share beside tensors: the cursor, what is known of the data, running metrics. `shaders/` has the same
//! structs.

use crate::random::pcg4d;

/// What a byte is multiplied by: 255 becomes 1.
pub(crate) const U8_SCALE: f32 = 1.0 / 255.0;

/// What the kernels know of a data set: [`Role::Data`](crate::plan::Role::Data).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct DataInfo {
    /// Rows of the data set.
    pub rows: u32,
    /// 1 where each epoch has an order of its own, 0 where rows come as they are.
    pub shuffle: u32,
    /// The shuffle's seed, low word.
    pub seed_low: u32,
    /// The shuffle's seed, high word.
    pub seed_high: u32,
    /// 1 where features are bytes, four to a word and rows padded to words; 0 where they are f32.
    pub bytes: u32,
    /// 1 where targets are numbers, as many as outputs; 0 where they are labels.
    pub values: u32,
    /// 1 where each row of the targets ends with its weight.
    pub weighted: u32,
    /// Where the first row's features begin, in words.
    pub first_feature: u32,
    /// Words from one row's features to the next one's.
    pub feature_stride: u32,
    /// Where the first row's targets begin, in words.
    pub first_target: u32,
    /// Words from one row's targets to the next one's.
    pub target_stride: u32,
    /// Of a chain, whose passes are recorded one by one, the batch's number, from 2; else 0.
    pub chain: u32,
    /// What the cursor is told: 0 of the next batch, 1 of a chain's backward pass, 2 of its update.
    pub chain_pass: u32,
    /// Channels of the features that are normalised; 0 for none. The features' buffer then begins with a table, f32:
    /// the mean of each channel, then 1 / deviation of each. Column c belongs to channel c mod `channels`, and its
    /// value (a byte's is byte / 255) becomes (value − mean) · (1 / deviation).
    pub channels: u32,
    /// The label that the loss ignores, plus one; 0 for none. So the label `u32::MAX` cannot be ignored.
    pub ignored: u32,
    /// How images are changed as they are gathered, by an [`Augmentation`](crate::Augmentation), whose numbers follow:
    /// 0 not at all, 1 pixels are moved whole, 2 pixels are interpolated.
    pub augment: u32,
    /// In pixels.
    pub shift: u32,
    /// In pixels.
    pub cutout: u32,
    /// A probability.
    pub flip: f32,
    /// A probability.
    pub flip_vertical: f32,
    /// In radians.
    pub rotation: f32,
    /// The smallest.
    pub scale: f32,
    /// The largest, less the smallest.
    pub scale_span: f32,
    /// The largest number that is added.
    pub brightness: f32,
    /// The largest change of the factor.
    pub contrast: f32,
    /// Of the images that are changed or cropped.
    pub image_height: u32,
    /// Likewise.
    pub image_width: u32,
    /// Whether crops of images are gathered: 0 not, 1 at random places, 2 from the middle.
    pub crop: u32,
    /// How many places there are along an image's width.
    pub places_x: u32,
    /// And along its height.
    pub places_y: u32,
    /// The size of targets that are images by that of the input's, where crops of them are targets; else 0.
    pub target_factor: u32,
    /// The width of such targets.
    pub target_width: u32,
    /// And of a crop of them.
    pub target_crop_width: u32,
}

/// Keeps what is drawn for a row apart from the shuffle.
const OF_ROW: u32 = 0x9e37_79b9;

impl DataInfo {
    /// Where a row's features begin, in words.
    pub(crate) fn feature(&self, row: u32) -> usize {
        self.first_feature as usize + row as usize * self.feature_stride as usize
    }

    /// What is drawn for a row of the data set in the batch that the cursor has begun:
    /// `shaders/shared/row_random.wgsl.in`.
    pub(crate) fn drawn_for(&self, row: u32, number: u32, state: &StepState) -> [u32; 4] {
        let epoch = state.epoch.wrapping_sub(u32::from(state.position == 0));
        pcg4d([row, epoch.wrapping_mul(4).wrapping_add(number), self.seed_low, self.seed_high ^ OF_ROW])
    }

    /// Where the crop of a row begins, x and y.
    pub(crate) fn crop_corner(&self, row: u32, state: &StepState) -> [u32; 2] {
        match self.crop {
            1 => {
                let [_, _, x, y] = self.drawn_for(row, 2, state);
                [x % self.places_x, y % self.places_y]
            }
            _ => [self.places_x, self.places_y].map(|places| (places - 1) / 2),
        }
    }

    /// Where a row's targets begin, in words.
    pub(crate) fn target(&self, row: u32) -> usize {
        self.first_target as usize + row as usize * self.target_stride as usize
    }
}

/// The cursor in the data set: [`Role::Step`](crate::plan::Role::Step). Kernels move it, not the host, so that any
/// number of steps can be recorded into one submission.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct StepState {
    /// Steps begun, this one included.
    pub step: u32,
    /// Rows in this batch.
    pub rows: u32,
    /// Epoch of the next batch, from 0.
    pub epoch: u32,
    /// Where in the epoch's order the next batch starts.
    pub position: u32,
    /// The update that this batch belongs to, from 1.
    pub update: u32,
    /// Batches of this update so far, this one included.
    pub batches: u32,
    /// Their rows.
    pub update_rows: u32,
    /// 1 where this batch is the update's last.
    pub due: u32,
    /// Of this update.
    pub learning_rate: f32,
    /// What the scheduled rate is multiplied by: the host's to change.
    pub rate_scale: f32,
    /// Rows of the data in which `position` is.
    pub data_rows: u32,
    /// The number of a chain's batch, from 2; 1 before its first; 0 for a training step.
    pub chain: u32,
    /// The number that the chain's last backward pass was recorded for since; 0 for none.
    pub gradients_of: u32,
    /// 1 once the batch's backward pass has run, 2 once its update has, 0 before.
    pub passes: u32,
}

impl StepState {
    /// Whether gradients are those of the batch: a chain's backward pass may be of another one.
    pub(crate) fn takes_gradients(&self) -> bool {
        self.chain == 0 || self.chain == self.gradients_of
    }
}

impl Default for StepState {
    /// Before the first step.
    fn default() -> Self {
        Self { rate_scale: 1.0, ..bytemuck::Zeroable::zeroed() }
    }
}

/// Running metrics of a row of the batch, or their sum: [`Role::RowMetrics`](crate::plan::Role::RowMetrics),
/// [`Role::Totals`](crate::plan::Role::Totals). With several losses each of these buffers has a part for each loss;
/// parts begin at multiples of 64 words.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct RowMetrics {
    /// Sum of losses.
    pub loss: f32,
    /// Rows whose class is the target's: see [`Evaluation::accuracy`](crate::Evaluation::accuracy).
    pub correct: u32,
    /// Rows seen, without those whose label is [ignored](DataInfo::ignored).
    pub rows: u32,
    /// The first step whose loss was not finite, or 0.
    pub non_finite_step: u32,
}

/// 32-bit words of such a struct.
pub(crate) const fn words<T>() -> u32 {
    (size_of::<T>() / 4) as u32
}

impl RowMetrics {
    /// Words from one output's totals to the next one's, where there are several.
    pub(crate) const STRIDE: usize = 64;

    /// The totals of each output, as a buffer of [`Role::Totals`](crate::plan::Role::Totals) has them.
    pub(crate) fn of_totals(words: &[u32]) -> Vec<Self> {
        let part = |words: &[u32]| bytemuck::pod_read_unaligned(bytemuck::cast_slice(&words[..size_of::<Self>() / 4]));
        words.chunks(Self::STRIDE).filter(|words| words.len() >= size_of::<Self>() / 4).map(part).collect()
    }
}
