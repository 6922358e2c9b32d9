//! Chooses the kernel of a matmul. The table in `shaders/README.md` gives the reasons.

use super::{Epilogue, Layout, Matmul, convolution, sliding};
use crate::ops::{Adapter, LONGEST_LOOP};

/// A kernel for a matmul. All kernels give the same result within the bounds of the lockstep.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulKernel {
    pub tile: Tile,
    pub k: K,
}

/// Tile of C that a workgroup computes, and the kernel that computes it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// `matmul.wgsl.in`: 32x32, operands in workgroup memory.
    Square32,
    /// `matmul.large.wgsl.in`: 64x64, operands in workgroup memory.
    Square64,
    /// `matmul.vector.rows.wgsl.in`, `matmul.vector.columns.wgsl.in`: one operand is a vector. A workgroup has
    /// `lanes` invocations.
    Vector { lanes: u32 },
    /// `matmul.plain.wgsl.in`: 4x4 per invocation, no workgroup memory.
    Plain,
    /// `matmul.direct.wgsl.in`: a convolution. An invocation computes 4 positions times `quads` vectors of columns.
    Direct { quads: u32 },
    /// `matmul.grouped.wgsl.in`: a grouped convolution, 4x4 per invocation. Each column reads the channels of its
    /// group. A workgroup has `lanes` invocations.
    Grouped { lanes: u32 },
    /// `matmul.subgroup.wgsl.in`: a subgroup computes `rows` rows of C.
    Subgroup { rows: u32 },
    /// `matmul.wide.wgsl.in`: 8 lanes compute `rows` rows of C, in words of 64 bits.
    Wide { rows: u32 },
    /// `matmul.wide.panel.wgsl.in`: like `Wide`, with a cached panel of B.
    Panel,
    /// `matmul.wide.sliding.wgsl.in` and `matmul.wide.sliding.gradient.wgsl.in`: a convolution along the rows of an
    /// image.
    Sliding,
}

/// How the steps of a sum (k) are divided.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum K {
    /// One invocation computes the whole sum.
    Whole,
    /// A workgroup has this many groups of invocations, 1 to 4, and each sums one slice. Only for `Square32`.
    Slices(u32),
    /// Split-K: workgroups each sum one of this many splits, and a second dispatch adds them. For `Square32`,
    /// `Plain`, `Grouped` and `Subgroup`.
    Parts(u32),
}

use K::{Parts, Slices, Whole};
use Tile::{Direct, Grouped, Panel, Plain, Sliding, Square32, Square64, Subgroup, Vector, Wide};

/// Up to this many multiply-adds, the plain kernel takes less time than compiling a better kernel.
const SMALL: u64 = 1 << 19;
/// Fewest multiply-adds that are worth the compile time of the wide kernel, which all layers share. It then takes a
/// half to a seventh of the time of the plain kernel.
const WIDE: u64 = 1 << 16;
/// Multiply-adds that take the time of one weight's update.
const SIZE_OF_UPDATE: u64 = 32;
/// Up to this many multiply-adds, more than 16 rows are not worth their compile time.
const MEDIUM: u64 = 1 << 26;

/// Fewest rows of C that are worth the loading of a panel of B.
const MANY_ROWS: u32 = 128;
/// Fewest multiply-adds that are worth the compile time of the panel kernel.
const PANELS: u64 = 1 << 19;
/// Steps of k in a panel of B. A panel has 16 KiB, which leaves room in a processor's L1 cache.
const PANEL: u32 = 64;
/// Most rows that share a loaded panel.
const PANEL_ROWS: u32 = 256;
/// Fewest rows that share a loaded panel.
const FEW_PANEL_ROWS: u32 = 64;
/// Most panels of a sum. Their loops, over all rows, stay within lavapipe's iteration limit.
const MOST_PANELS: u32 = 128;
/// Workgroups per thread of a software adapter. With fewer, some threads wait for others.
const WORKGROUPS_OF_THREAD: u32 = 4;

/// Numbers of B that a last-level cache holds while a row of tiles is computed: 8 MiB.
const NEAR: u64 = 1 << 21;
/// Rows of tiles in a block, times the steps of k. With 32 rows per tile, A is 2 MiB, which stays in a nearer cache.
const ROWS_OF_BLOCK: u32 = 1 << 14;

/// With fewer tiles, most of a GPU is idle. It has about 40 to 130 processors, and each runs several workgroups.
const FEW_TILES: u32 = 128;
/// With this many tiles of 64x64, every processor can switch between several. A kernel that uses many registers needs
/// that.
const MANY_LARGE_TILES: u32 = 256;
/// From this length on, a quarter of a sum takes long compared with adding the partial sums.
const LONG_SUM: u32 = 256;
/// Workgroups that occupy a GPU.
const MANY_WORKGROUPS: u32 = 256;
/// Fewest steps of k that are worth a split and the final addition.
const STEPS_OF_SPLIT: u32 = 1024;
/// Up to this many output channels, the direct kernel computes most per number that it reads.
const FEW_COLUMNS: u32 = 32;
/// Positions of 64 workgroups of the direct kernel.
const MANY_POSITIONS: u32 = 1 << 14;
/// Invocations of a grouped convolution that occupy a GPU.
const MANY_INVOCATIONS: u32 = 1 << 14;
/// Invocations of a grouped convolution that occupy a thread of a software adapter.
const INVOCATIONS_OF_THREAD: u32 = 64;
/// Fewest steps of k that are worth an invocation of a grouped convolution.
const STEPS_OF_INVOCATION: u32 = 256;
/// Outputs of 16 workgroups of the vector kernel.
const ENOUGH_OUTPUTS: u32 = 1024;
/// Splits to try if the rule has none.
#[cfg(all(feature = "files", not(target_family = "wasm")))]
const FEW_SPLITS: u32 = 8;

impl MatmulKernel {
    /// All kernels that can compute a matmul on an adapter, except those that a software adapter takes a second to
    /// compile.
    #[cfg(all(feature = "files", not(target_family = "wasm")))]
    pub(crate) fn candidates(op: &Matmul, adapter: &Adapter) -> Vec<Self> {
        let whole = |tile| Self { tile, k: Whole };
        let mut kernels = vec![Self::rule(op, adapter), whole(Square32), Self { tile: Square32, k: Slices(4) }];
        // A larger matmul could take seconds on a GPU, and operating systems then reset the GPU.
        const MOST_OF_PLAIN: u64 = 1 << 28;
        if adapter.software || op.size() <= MOST_OF_PLAIN {
            kernels.push(whole(Plain));
        }
        if !adapter.software {
            kernels.push(whole(Square64));
            if splits(op) > 1 || is_deep(op) {
                kernels.push(Self { tile: Square32, k: Parts(if splits(op) > 1 { splits(op) } else { FEW_SPLITS }) });
            }
        }
        kernels.push(whole(Vector { lanes: if adapter.software { 8 } else { 64 } }));
        kernels.extend([8, 16, 32, 64].map(|rows| whole(Subgroup { rows })));
        kernels.extend([8, 16, 32].map(|rows| whole(Wide { rows })));
        kernels.extend([Panel, Sliding].map(whole));
        let rule = kernels[0];
        let mut first = true;
        kernels.retain(|kernel| kernel.fits(op, adapter) && (*kernel != rule || std::mem::take(&mut first)));
        kernels
    }

    /// Whether this kernel can compute a matmul on an adapter.
    pub(crate) fn fits(self, op: &Matmul, adapter: &Adapter) -> bool {
        let [m, n, k] = op.shape();
        // Rows of the matrices must consist of whole vectors of 64-bit words.
        let by_words = adapter.matmul_subgroup.is_some() && adapter.wide_access;
        let wide = by_words && n.is_multiple_of(8);
        let fits = match (self.tile, op.layout) {
            // The kernel has one loop over taps and one over inputs.
            (Direct { quads }, _) => {
                convolution::fits_direct(op, quads) && (k <= LONGEST_LOOP / 3 || !adapter.software)
            }
            (Grouped { .. }, _) => op.window.is_some(),
            _ if op.groups() > 1 => false,
            (Square32 | Square64 | Plain, _) => true,
            (Vector { .. }, _) => is_vector(op),
            (Subgroup { .. }, _) => adapter.matmul_subgroup.is_some(),
            // The kernel splits long sums itself.
            (Sliding, _) => return by_words && sliding::Sliding::of(op).is_some(),
            // The other kernels load whole words of stored rows.
            _ if op.window.is_some() => false,
            (Wide { .. }, Layout::Tn) => wide && m.is_multiple_of(8),
            (Wide { .. }, _) => wide && k.is_multiple_of(8),
            (Panel, Layout::Tn) => wide && m.is_multiple_of(4) && k <= PANEL,
            // Between two panels the sums are stored in C, but with an update C is the parameters.
            (Panel, _) if matches!(op.epilogue, Epilogue::Update(_)) || op.bias_gradient.is_some() => false,
            (Panel, _) => wide && k.is_multiple_of(8) && k <= MOST_PANELS * PANEL,
        };
        fits && (k <= LONGEST_LOOP || !adapter.software || matches!(self.k, Parts(_)))
    }

    /// Kernel of a matmul that has not been measured.
    pub(crate) fn rule(op: &Matmul, adapter: &Adapter) -> Self {
        match adapter.forced_matmul {
            Some(kernel) if kernel.fits(op, adapter) => kernel,
            _ if op.groups() > 1 => Self::of_groups(op, adapter),
            _ if adapter.software => Self::of_software(op, adapter),
            _ => Self::of_gpu(op, adapter),
        }
    }

    /// Grouped convolutions: the direct kernel if each tile of columns lies within a group, otherwise the grouped
    /// kernel. Gradients of weights are long sums of few numbers, so k is split until the adapter is occupied.
    fn of_groups(op: &Matmul, adapter: &Adapter) -> Self {
        let (lanes, enough, longest) = match adapter.software {
            true => (8, INVOCATIONS_OF_THREAD * adapter.threads, LONGEST_LOOP),
            false => (64, MANY_INVOCATIONS, u32::MAX),
        };
        let direct = direct(op, adapter);
        if direct.fits(op, adapter) {
            return direct;
        }
        let splits = (enough / tiles(op, 4)).min(op.k() / STEPS_OF_INVOCATION).max(op.k().div_ceil(longest));
        Self { tile: Grouped { lanes }, k: if splits > 1 { Parts(splits) } else { Whole } }
    }

    /// GPUs. A vector operand takes the vector kernel, which reads each number of the matrix once, if it has enough
    /// workgroups. Other matmuls take a tiled kernel: workgroup memory serves many multiply-adds per load. Large
    /// tiles serve more, but need a large C and many registers. If C has too few tiles to occupy a GPU, k is split.
    fn of_gpu(op: &Matmul, adapter: &Adapter) -> Self {
        let splits = splits(op);
        let direct = direct(op, adapter);
        let is_direct = op.n() <= FEW_COLUMNS && direct.fits(op, adapter) && convolution::fills_strips(op);
        let (tile, k) = match splits {
            _ if is_vector(op) && (splits <= 1 || vector_occupies_gpu(op)) => (Vector { lanes: 64 }, Whole),
            _ if is_direct && op.m() >= MANY_POSITIONS => return direct,
            2.. => (Square32, Parts(splits)),
            _ if adapter.many_registers && tiles(op, 64) >= MANY_LARGE_TILES => (Square64, Whole),
            _ if is_deep(op) => (Square32, Slices(4)),
            _ => (Square32, Whole),
        };
        Self { tile, k }
    }

    /// Software adapters. A barrier costs more than any load, so a matmul uses subgroups, which are vector registers.
    /// More rows use each load of B more often, but the driver compiles longer. A panel of B is cached if sums are
    /// short or many rows use it. Without subgroups: the plain kernel. Sums beyond the drivers' loop limit are split.
    fn of_software(op: &Matmul, adapter: &Adapter) -> Self {
        let [m, n, steps] = op.shape();
        let update = if matches!(op.epilogue, Epilogue::Update(_)) { SIZE_OF_UPDATE } else { 0 };
        let size = op.size() + u64::from(m) * u64::from(n) * update;
        let rows = match (m, adapter.matmul_subgroup) {
            (..=8, _) => 8,
            (9..=16, _) => 16,
            (17..=32, Some(16)) => 32,
            (_, Some(16)) => 64,
            _ if size > MEDIUM => 32,
            _ => 16,
        };
        let by_subgroup = size > SMALL && adapter.matmul_subgroup.is_some();
        let by_panels = if op.layout == Layout::Tn { by_subgroup } else { m >= MANY_ROWS && size >= PANELS };
        let best =
            [(Vector { lanes: 8 }, true), (Sliding, by_subgroup), (Panel, by_panels), (Wide { rows }, size >= WIDE)];
        let mut best = best.into_iter().filter(|(_, wanted)| *wanted).map(|(tile, _)| Self { tile, k: Whole });
        best.find(|kernel| kernel.fits(op, adapter)).unwrap_or(Self {
            tile: if by_subgroup { Subgroup { rows } } else { Plain },
            k: if steps > LONGEST_LOOP { Parts(steps.div_ceil(LONGEST_LOOP)) } else { Whole },
        })
    }
}

/// The direct kernel, with the most columns per invocation that registers allow.
fn direct(op: &Matmul, adapter: &Adapter) -> MatmulKernel {
    let most = if adapter.many_registers { 4 } else { 2 };
    MatmulKernel { tile: Direct { quads: convolution::quads(op, most) }, k: Whole }
}

/// Best number of splits of k on a GPU. If C has few tiles, the splits should occupy the GPU, but none may be too
/// short.
fn splits(op: &Matmul) -> u32 {
    (MANY_WORKGROUPS / tiles(op, 32).max(1)).min(op.k() / STEPS_OF_SPLIT)
}

/// Whether C has few tiles and long sums.
fn is_deep(op: &Matmul) -> bool {
    tiles(op, 32) < FEW_TILES && op.k() >= LONG_SUM
}

/// Number of square tiles of C.
fn tiles(op: &Matmul, side: u32) -> u32 {
    op.m().div_ceil(side) * op.n().div_ceil(side)
}

/// Whether the vector kernel has enough workgroups on a GPU. If outputs are sums over columns, a workgroup has 64
/// outputs.
fn vector_occupies_gpu(op: &Matmul) -> bool {
    let over_columns = if op.n() == 1 { op.layout == Layout::Tn } else { op.layout != Layout::Nt };
    !over_columns || op.m().max(op.n()) >= ENOUGH_OUTPUTS
}

/// Steps of k in a panel; all steps if A is transposed.
pub(super) fn steps_of_panel(op: &Matmul) -> u32 {
    if op.layout == Layout::Tn { op.k().next_multiple_of(8) } else { PANEL }
}

/// Tiles along the rows, for the panel kernel. Each thread should have several, but enough rows must share a loaded
/// panel.
pub(super) fn tiles_of_rows(op: &Matmul, tiles_n: u32, threads: u32) -> u32 {
    let enough = (WORKGROUPS_OF_THREAD * threads).div_ceil(tiles_n);
    enough.min(op.m().div_ceil(FEW_PANEL_ROWS)).max(op.m().div_ceil(PANEL_ROWS))
}

/// Rows of tiles in a block of the wide kernel. A block normally has all rows, so that columns of B are loaded once.
/// If C is large compared with A and B, tiles go in C's order, unless B is too large to stay cached for the next row.
pub(super) fn block(op: &Matmul, rows: u32) -> u32 {
    let [m, n, k] = op.shape();
    match op.layout {
        Layout::Nn | Layout::Nt => m.div_ceil(rows),
        Layout::Tn if u64::from(k) * u64::from(n) <= NEAR => 1,
        Layout::Tn => (ROWS_OF_BLOCK / k).max(1),
    }
}

/// Whether one operand is a vector and the matrix has rows of whole vec4s. If C is a row, only other kernels can
/// compute the column sums of B.
fn is_vector(op: &Matmul) -> bool {
    let [m, n, k] = op.shape();
    let (row_of_matrix, sums_rows) = match (n, m, op.layout) {
        (1, _, Layout::Tn) => (m, false),
        (1, _, _) => (k, true),
        (_, 1, Layout::Nt) => (k, true),
        (_, 1, _) => (n, op.bias_gradient.is_some()),
        _ => return false,
    };
    let biases = op.bias_gradient.is_some() && sums_rows;
    op.window.is_none() && row_of_matrix.is_multiple_of(4) && !biases && k > 1
}
