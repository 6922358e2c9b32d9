//! Structs that kernels share besides tensors: the cursor, the description of the data set, and running metrics. The
//! shaders declare the same structs.

use crate::random::pcg4d;

/// Scale of byte features: 255 becomes 1.
pub(crate) const U8_SCALE: f32 = 1.0 / 255.0;

/// Description of the data set for the kernels: [`Role::Data`](crate::plan::Role::Data).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct DataInfo {
    /// Rows of the data set.
    pub rows: u32,
    /// 1 if each epoch has its own random order, 0 if rows come in stored order.
    pub shuffle: u32,
    /// Seed of the shuffle, low word.
    pub seed_low: u32,
    /// Seed of the shuffle, high word.
    pub seed_high: u32,
    /// 1 if features are bytes, four per word, with rows padded to whole words; 0 if they are f32.
    pub bytes: u32,
    /// 1 if targets are numbers, one for each output; 0 if they are labels.
    pub values: u32,
    /// 1 if each row of the targets ends with the row's weight.
    pub weighted: u32,
    /// Offset of the first row's features, in words.
    pub first_feature: u32,
    /// Distance between two rows' features, in words.
    pub feature_stride: u32,
    /// Offset of the first row's targets, in words.
    pub first_target: u32,
    /// Distance between two rows' targets, in words.
    pub target_stride: u32,
    /// Number of the batch in a chain, from 2. The passes of a chain are recorded one by one. 0 without a chain.
    pub chain: u32,
    /// Event that the cursor records: 0 the next batch, 1 the backward pass of a chain, 2 its update.
    pub chain_pass: u32,
    /// Channels of normalised features; 0 without normalisation. Otherwise the features' buffer begins with an f32
    /// table: the mean of each channel, then 1 / deviation of each channel. Column c belongs to channel c mod
    /// `channels`. Its value (for a byte: byte / 255) becomes (value − mean) · (1 / deviation).
    pub channels: u32,
    /// Label that the loss ignores, plus one; 0 for none. The label `u32::MAX` cannot be ignored.
    pub ignored: u32,
    /// Augmentation of gathered images: 0 none, 1 in whole pixels, 2 with interpolation. The next fields are the
    /// numbers of the [`Augmentation`](crate::Augmentation).
    pub augment: u32,
    /// Largest shift, in pixels.
    pub shift: u32,
    /// Side of the cut-out square, in pixels.
    pub cutout: u32,
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// Probability of a vertical flip.
    pub flip_vertical: f32,
    /// Largest rotation, in radians.
    pub rotation: f32,
    /// Smallest scale.
    pub scale: f32,
    /// Largest scale minus smallest scale.
    pub scale_span: f32,
    /// Largest number that is added to the brightness.
    pub brightness: f32,
    /// Largest change of the contrast factor.
    pub contrast: f32,
    /// Height of the images that are augmented or cropped.
    pub image_height: u32,
    /// Width of the images that are augmented or cropped.
    pub image_width: u32,
    /// Crops of images: 0 none, 1 at random positions, 2 at the centre.
    pub crop: u32,
    /// Number of crop positions along the width.
    pub places_x: u32,
    /// Number of crop positions along the height.
    pub places_y: u32,
    /// Size of target images divided by the size of input images, if targets are cropped too; otherwise 0.
    pub target_factor: u32,
    /// Width of the target images.
    pub target_width: u32,
    /// Width of a crop of the target images.
    pub target_crop_width: u32,
}

/// Separates the random numbers of rows from those of the shuffle.
const OF_ROW: u32 = 0x9e37_79b9;

impl DataInfo {
    /// Offset of a row's features, in words.
    pub(crate) fn feature(&self, row: u32) -> usize {
        self.first_feature as usize + row as usize * self.feature_stride as usize
    }

    /// Random numbers for a row of the data set in the current batch. The shader's version is
    /// `shaders/shared/row_random.wgsl.in`.
    pub(crate) fn drawn_for(&self, row: u32, number: u32, state: &StepState) -> [u32; 4] {
        let epoch = state.epoch.wrapping_sub(u32::from(state.position == 0));
        pcg4d([row, epoch.wrapping_mul(4).wrapping_add(number), self.seed_low, self.seed_high ^ OF_ROW])
    }

    /// Position of a row's crop: x and y.
    pub(crate) fn crop_corner(&self, row: u32, state: &StepState) -> [u32; 2] {
        match self.crop {
            1 => {
                let [_, _, x, y] = self.drawn_for(row, 2, state);
                [x % self.places_x, y % self.places_y]
            }
            _ => [self.places_x, self.places_y].map(|places| (places - 1) / 2),
        }
    }

    /// Offset of a row's targets, in words.
    pub(crate) fn target(&self, row: u32) -> usize {
        self.first_target as usize + row as usize * self.target_stride as usize
    }
}

/// Cursor in the data set: [`Role::Step`](crate::plan::Role::Step). Kernels advance it without the host, so that one
/// submission can contain any number of steps.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct StepState {
    /// Steps begun, including this one. If batches have slices, it counts slices: those of all ranks.
    pub step: u32,
    /// Valid rows of this batch or slice. A partial batch has fewer than the batch size.
    pub rows: u32,
    /// Epoch of the next batch, from 0.
    pub epoch: u32,
    /// Position of the next batch in the epoch's order.
    pub position: u32,
    /// Number of the update that this batch belongs to, from 1.
    pub update: u32,
    /// Batches of this update so far, including this one.
    pub batches: u32,
    /// Rows of these batches.
    pub update_rows: u32,
    /// 1 if this batch is the last of its update.
    pub due: u32,
    /// Learning rate of this update.
    pub learning_rate: f32,
    /// Factor of the scheduled learning rate. The host can change it.
    pub rate_scale: f32,
    /// Rows of the data set that `position` refers to.
    pub data_rows: u32,
    /// Number of the batch in a chain, from 2; 1 before the first batch; 0 for a training step.
    pub chain: u32,
    /// Number of the batch whose backward pass the chain recorded last; 0 for none.
    pub gradients_of: u32,
    /// Passes of the batch that have run: 0 none, 1 the backward pass, 2 the update.
    pub passes: u32,
    /// Valid rows of all slices of this batch.
    pub batch_rows: u32,
}

impl StepState {
    /// The epoch of this batch, and the position of its first row.
    pub(crate) fn start_of_batch(&self, data: &DataInfo) -> (u32, u32) {
        let ended = self.position == 0;
        (self.epoch - u32::from(ended), if ended { data.rows } else { self.position } - self.batch_rows)
    }

    /// Returns true if the gradients belong to this batch. In a chain they can belong to another batch.
    pub(crate) fn takes_gradients(&self) -> bool {
        self.chain == 0 || self.chain == self.gradients_of
    }
}

impl Default for StepState {
    /// State before the first step.
    fn default() -> Self {
        Self { rate_scale: 1.0, ..bytemuck::Zeroable::zeroed() }
    }
}

/// Running metrics of a row of the batch, or their sum over rows:
/// [`Role::RowMetrics`](crate::plan::Role::RowMetrics), [`Role::Totals`](crate::plan::Role::Totals). With several
/// losses each buffer has one section per loss. Sections begin at multiples of 64 words.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct RowMetrics {
    /// Sum of losses.
    pub loss: f32,
    /// Rows that are classified correctly: see [`Evaluation::accuracy`](crate::Evaluation::accuracy).
    pub correct: u32,
    /// Rows counted. Rows with an [ignored](DataInfo::ignored) label are not counted.
    pub rows: u32,
    /// First step whose loss was not finite; 0 if there is none.
    pub non_finite_step: u32,
}

/// Size of a struct in 32-bit words.
pub(crate) const fn words<T>() -> u32 {
    (size_of::<T>() / 4) as u32
}

impl RowMetrics {
    /// Distance between the totals of two outputs, in words.
    pub(crate) const STRIDE: usize = 64;

    /// Totals of each output, from a buffer of [`Role::Totals`](crate::plan::Role::Totals).
    pub(crate) fn of_totals(words: &[u32]) -> Vec<Self> {
        let part = |words: &[u32]| bytemuck::pod_read_unaligned(bytemuck::cast_slice(&words[..size_of::<Self>() / 4]));
        words.chunks(Self::STRIDE).filter(|words| words.len() >= size_of::<Self>() / 4).map(part).collect()
    }
}
