//! Which kernel makes a product. The table in `shaders/README.md` says why.

use super::{Epilogue, Layout, Matmul, convolution, sliding};
use crate::ops::{Adapter, LONGEST_LOOP};

/// A way to make a product. Each gives the same within the bounds of the lockstep.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulKernel {
    pub tile: Tile,
    pub k: K,
}

/// What of C a workgroup makes, and how.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// `matmul.wgsl.in`: 32x32, operands in workgroup memory.
    Square32,
    /// `matmul.large.wgsl.in`: 64x64, likewise.
    Square64,
    /// `matmul.vector.rows.wgsl.in`, `matmul.vector.columns.wgsl.in`: one operand is a vector; `lanes` invocations share
    /// a workgroup.
    Vector { lanes: u32 },
    /// `matmul.plain.wgsl.in`: 4x4 an invocation, nothing is shared.
    Plain,
    /// `matmul.direct.wgsl.in`: a convolution, 4 positions times `quads` vectors of columns an invocation.
    Direct { quads: u32 },
    /// `matmul.grouped.wgsl.in`: a convolution, 4x4 an invocation; a column sees channels of its own group. `lanes`
    /// invocations share a workgroup.
    Grouped { lanes: u32 },
    /// `matmul.subgroup.wgsl.in`: a subgroup makes `rows` rows of C.
    Subgroup { rows: u32 },
    /// `matmul.wide.wgsl.in`: the same by 8 lanes in words of 64 bits.
    Wide { rows: u32 },
    /// `matmul.wide.panel.wgsl.in`: the same with a panel of B at hand.
    Panel,
    /// `matmul.wide.sliding.wgsl.in` and `matmul.wide.sliding.gradient.wgsl.in`: a convolution along rows of an image.
    Sliding,
}

/// How the steps of a sum are shared.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum K {
    /// An invocation takes all of them.
    Whole,
    /// This number of invocation groups in a workgroup each sum one slice. Of `Square32` only, 1 to 4.
    Slices(u32),
    /// Workgroups each sum one of this number of parts; a second dispatch adds them up. Of `Square32`, `Plain`,
    /// `Grouped` and `Subgroup`.
    Parts(u32),
}

use K::{Parts, Slices, Whole};
use Tile::{Direct, Grouped, Panel, Plain, Sliding, Square32, Square64, Subgroup, Vector, Wide};

/// Up to here a product takes less time than the driver's compiler takes for a better kernel than the plain one.
const SMALL: u64 = 1 << 19;
/// Multiply-adds that take as long as the update of a weight.
const OF_UPDATE: u64 = 32;
/// Up to here the compiler's time for more than 16 rows is not worth it.
const MEDIUM: u64 = 1 << 26;

/// From so many rows of C on, and so many multiply-adds, the loading of a panel of B is worth it, and its compilation.
const MANY_ROWS: u32 = 128;
const PANELS: u64 = 1 << 22;
/// Steps of k in a panel of B, whose 16 KiB leave room for the rest in a processor's first cache.
const PANEL: u32 = 64;
/// The most and the fewest rows that share a panel's loading.
const PANEL_ROWS: u32 = 256;
const FEW_PANEL_ROWS: u32 = 64;
/// So many panels, one after the other, over so many rows are within the iterations that lavapipe's loops may have.
const MOST_PANELS: u32 = 128;
/// Workgroups that each thread of a software adapter should have, or one waits for another.
const WORKGROUPS_OF_THREAD: u32 = 4;

/// Numbers of B, 8 MiB, that a processor's last cache holds while a row of C's tiles is made; and rows of tiles of a
/// block, times the steps of k, whose A, 2 MiB with 32 rows to a tile, stays nearer.
const NEAR: u64 = 1 << 21;
const ROWS_OF_BLOCK: u32 = 1 << 14;

/// Fewer tiles leave most of a GPU idle, which has some 40 to 130 processors that each hold several workgroups.
const FEW_TILES: u32 = 128;
/// From so many tiles of 64x64 on, every processor has some to take turns with, which is what a kernel of many
/// registers needs.
const MANY_LARGE_TILES: u32 = 256;
/// From here on a quarter of a sum is long beside the adding up.
const LONG_SUM: u32 = 256;
/// So many workgroups occupy a GPU; and the fewest steps of k that are worth one, and parts their adding up.
const MANY_WORKGROUPS: u32 = 256;
const STEPS_OF_PART: u32 = 1024;
/// Up to so many channels out, the direct kernel computes most for what it reads.
const FEW_COLUMNS: u32 = 32;
/// Those of 64 workgroups of that kernel.
const MANY_POSITIONS: u32 = 1 << 14;
/// Invocations of a grouped convolution that occupy a GPU; of a software adapter, those of a thread. And the fewest
/// steps of k that are worth one.
const MANY_INVOCATIONS: u32 = 1 << 14;
const INVOCATIONS_OF_THREAD: u32 = 64;
const STEPS_OF_INVOCATION: u32 = 256;
/// Outputs of 16 workgroups of the kernel for vectors.
const ENOUGH_OUTPUTS: u32 = 1024;
/// Parts to try where nothing is known.
#[cfg(all(feature = "files", not(target_family = "wasm")))]
const FEW_PARTS: u32 = 8;

impl MatmulKernel {
    /// Every kernel that can make a product on an adapter, but for those that take a software adapter a second to
    /// compile.
    #[cfg(all(feature = "files", not(target_family = "wasm")))]
    pub(crate) fn candidates(op: &Matmul, adapter: &Adapter) -> Vec<Self> {
        let whole = |tile| Self { tile, k: Whole };
        let mut kernels = vec![Self::rule(op, adapter), whole(Square32), Self { tile: Square32, k: Slices(4) }];
        // More multiply-adds could take it seconds on a GPU, after which an operating system resets that.
        const MOST_OF_PLAIN: u64 = 1 << 28;
        if adapter.software || op.size() <= MOST_OF_PLAIN {
            kernels.push(whole(Plain));
        }
        if !adapter.software {
            kernels.push(whole(Square64));
            if parts(op) > 1 || is_deep(op) {
                kernels.push(Self { tile: Square32, k: Parts(if parts(op) > 1 { parts(op) } else { FEW_PARTS }) });
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

    /// Whether it can make a product on an adapter.
    pub(crate) fn fits(self, op: &Matmul, adapter: &Adapter) -> bool {
        let [m, n, k] = op.shape();
        // Words of 64 bits hold whole rows of the matrices.
        let by_words = adapter.matmul_subgroup.is_some() && adapter.wide_access;
        let wide = by_words && n.is_multiple_of(8);
        let fits = match (self.tile, op.layout) {
            // It has a loop for taps and one for inputs.
            (Direct { quads }, _) => {
                convolution::fits_direct(op, quads) && (k <= LONGEST_LOOP / 3 || !adapter.software)
            }
            (Grouped { .. }, _) => op.window.is_some(),
            _ if op.groups() > 1 => false,
            (Square32 | Square64 | Plain, _) => true,
            (Vector { .. }, _) => is_vector(op),
            (Subgroup { .. }, _) => adapter.matmul_subgroup.is_some(),
            // It cuts long sums itself.
            (Sliding, _) => return by_words && sliding::Sliding::of(op).is_some(),
            // The other kernels load whole words of rows that are stored.
            _ if op.window.is_some() => false,
            (Wide { .. }, Layout::Tn) => wide && m.is_multiple_of(8),
            (Wide { .. }, _) => wide && k.is_multiple_of(8),
            (Panel, Layout::Tn) => wide && m.is_multiple_of(4) && k <= PANEL,
            // Between two panels the sums are in C, where an update has its parameters.
            (Panel, _) if matches!(op.epilogue, Epilogue::Update(_)) || op.bias_gradient.is_some() => false,
            (Panel, _) => wide && k.is_multiple_of(8) && k <= MOST_PANELS * PANEL,
        };
        fits && (k <= LONGEST_LOOP || !adapter.software || matches!(self.k, Parts(_)))
    }

    /// The kernel for a product where nothing has been measured.
    pub(crate) fn rule(op: &Matmul, adapter: &Adapter) -> Self {
        match adapter.products {
            Some(kernel) if kernel.fits(op, adapter) => kernel,
            _ if op.groups() > 1 => Self::of_groups(op, adapter),
            _ if adapter.software => Self::of_software(op, adapter),
            _ => Self::of_gpu(op, adapter),
        }
    }

    /// Where tiles of columns lie within groups, the direct kernel. Else each column reads for itself. Gradients of
    /// weights are long sums of few numbers: k is split over as many invocations as occupy the adapter.
    fn of_groups(op: &Matmul, adapter: &Adapter) -> Self {
        let (lanes, enough, longest) = match adapter.software {
            true => (8, INVOCATIONS_OF_THREAD * adapter.threads, LONGEST_LOOP),
            false => (64, MANY_INVOCATIONS, u32::MAX),
        };
        let direct = direct(op, adapter);
        if direct.fits(op, adapter) {
            return direct;
        }
        let parts = (enough / tiles(op, 4)).min(op.k() / STEPS_OF_INVOCATION).max(op.k().div_ceil(longest));
        Self { tile: Grouped { lanes }, k: if parts > 1 { Parts(parts) } else { Whole } }
    }

    /// For a vector the kernel that reads each number of the matrix once, unless a few workgroups would have it all to
    /// do. Else the tiled one: workgroup memory feeds many multiply-adds per load, more of them in large tiles, where C
    /// has many and invocations may have many registers. Where it has too few tiles to occupy a GPU, k is split, within
    /// workgroups or over them.
    fn of_gpu(op: &Matmul, adapter: &Adapter) -> Self {
        let parts = parts(op);
        let direct = direct(op, adapter);
        let is_direct = op.n() <= FEW_COLUMNS && direct.fits(op, adapter) && convolution::fills_strips(op);
        let (tile, k) = match parts {
            _ if is_vector(op) && (parts <= 1 || vector_occupies_gpu(op)) => (Vector { lanes: 64 }, Whole),
            _ if is_direct && op.m() >= MANY_POSITIONS => return direct,
            2.. => (Square32, Parts(parts)),
            _ if adapter.many_registers && tiles(op, 64) >= MANY_LARGE_TILES => (Square64, Whole),
            _ if is_deep(op) => (Square32, Slices(4)),
            _ => (Square32, Whole),
        };
        Self { tile, k }
    }

    /// A barrier costs more there than any load, so products are made by a subgroup that is a vector register: the more
    /// rows, the more a load of B is used, but the longer the driver compiles. A panel of B stays at hand where sums
    /// are short, or many rows use it. Without such subgroups the plain kernel; and in parts what takes more turns of a
    /// loop than drivers allow.
    fn of_software(op: &Matmul, adapter: &Adapter) -> Self {
        let [m, n, steps] = op.shape();
        let update = if matches!(op.epilogue, Epilogue::Update(_)) { OF_UPDATE } else { 0 };
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
        let by_panels = by_subgroup && (op.layout == Layout::Tn || m >= MANY_ROWS && size >= PANELS);
        let best =
            [(Vector { lanes: 8 }, true), (Sliding, by_subgroup), (Panel, by_panels), (Wide { rows }, by_subgroup)];
        let mut best = best.into_iter().filter(|(_, wanted)| *wanted).map(|(tile, _)| Self { tile, k: Whole });
        best.find(|kernel| kernel.fits(op, adapter)).unwrap_or(Self {
            tile: if by_subgroup { Subgroup { rows } } else { Plain },
            k: if steps > LONGEST_LOOP { Parts(steps.div_ceil(LONGEST_LOOP)) } else { Whole },
        })
    }
}

/// The direct kernel, with as many columns an invocation as there are registers for.
fn direct(op: &Matmul, adapter: &Adapter) -> MatmulKernel {
    let most = if adapter.many_registers { 4 } else { 2 };
    MatmulKernel { tile: Direct { quads: convolution::quads(op, most) }, k: Whole }
}

/// Into how many parts k is best cut on a GPU: as many as occupy it, where C has few tiles, but none too short.
fn parts(op: &Matmul) -> u32 {
    (MANY_WORKGROUPS / tiles(op, 32).max(1)).min(op.k() / STEPS_OF_PART)
}

/// Whether C has few tiles, and sums are long.
fn is_deep(op: &Matmul) -> bool {
    tiles(op, 32) < FEW_TILES && op.k() >= LONG_SUM
}

/// Square tiles of C.
fn tiles(op: &Matmul, side: u32) -> u32 {
    op.m().div_ceil(side) * op.n().div_ceil(side)
}

/// Whether the kernel for vectors has enough workgroups on a GPU. Where outputs are sums over columns, one has 64.
fn vector_occupies_gpu(op: &Matmul) -> bool {
    let over_columns = if op.n() == 1 { op.layout == Layout::Tn } else { op.layout != Layout::Nt };
    !over_columns || op.m().max(op.n()) >= ENOUGH_OUTPUTS
}

/// Steps of k in a panel: where A is transposed, all.
pub(super) fn steps_of_panel(op: &Matmul) -> u32 {
    if op.layout == Layout::Tn { op.k().next_multiple_of(8) } else { PANEL }
}

/// Into how many tiles the rows go there: each thread should have several, but a panel's loading wants rows to share
/// it.
pub(super) fn tiles_of_rows(op: &Matmul, tiles_n: u32, threads: u32) -> u32 {
    let enough = (WORKGROUPS_OF_THREAD * threads).div_ceil(tiles_n);
    enough.min(op.m().div_ceil(FEW_PANEL_ROWS)).max(op.m().div_ceil(PANEL_ROWS))
}

/// How many rows of tiles the wide kernel goes through together. All, so that columns of B are loaded once, but where C
/// is large beside A and B: it is gone through in its own order, unless B is too large to stay near for the next row.
pub(super) fn block(op: &Matmul, rows: u32) -> u32 {
    let [m, n, k] = op.shape();
    match op.layout {
        Layout::Nn | Layout::Nt => m.div_ceil(rows),
        Layout::Tn if u64::from(k) * u64::from(n) <= NEAR => 1,
        Layout::Tn => (ROWS_OF_BLOCK / k).max(1),
    }
}

/// Whether an operand is a vector, and the rows of the other are whole vectors of four for the kernel. Where C is a
/// row, the column sums of B are the other kernels' to make.
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
