//! Which kernel makes a product. The table in `shaders/README.md` says why.

use crate::ops::*;

/// A way to make a product. Each gives the same within the bounds of the lockstep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatmulKernel {
    /// `matmul.wgsl.in`: tiles of both operands in workgroup memory, k in so many slices summed side by side.
    Tiled { slices: u32 },
    /// The same, by workgroups that have a part of k each: `Parts` adds them up.
    Split { parts: u32 },
    /// `matmul.parts.wgsl.in`: what comes after `Split`, and never alone.
    Parts { parts: u32 },
    /// `matmul.large.wgsl.in`: the same, four times as much of C at a time.
    Large,
    /// `matmul.vector.wgsl.in`: one operand is a vector; so many invocations work together.
    Vector { lanes: u32 },
    /// `matmul.plain.wgsl.in`: nothing is shared.
    Plain,
    /// `software/matmul.subgroup.wgsl.in`: a subgroup of so many lanes makes so many rows of C.
    Subgroup { rows: u32, lanes: u32 },
    /// `software/matmul.wide.wgsl.in`: the same of 8 lanes in words of 64 bits.
    Wide { rows: u32 },
    /// `software/matmul.wide.panel.wgsl.in`: with so many steps of k at hand, which are all there are where A is transposed.
    Panel { steps: u32 },
}

pub(super) use MatmulKernel::{Large, Panel, Parts, Plain, Split, Subgroup, Tiled, Vector, Wide};

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
const MOST_PANELS: usize = 128;
/// Workgroups that each thread of a software adapter should have, or one waits for another.
const WORKGROUPS_OF_THREAD: u32 = 4;

/// Numbers of B, 8 MiB, that a processor's last cache holds while a row of C's tiles is made; and rows of tiles of a block, times
/// the steps of k, whose A, 2 MiB with 32 rows to a tile, stays nearer.
const NEAR: u64 = 1 << 21;
const ROWS_OF_BLOCK: u32 = 1 << 14;

/// Fewer tiles leave most of a GPU idle, which has some 40 to 130 processors that each hold several workgroups.
const FEW_TILES: u32 = 128;
/// From so many tiles of 64x64 on, every processor has some to take turns with, which is what a kernel of many registers needs.
const MANY_LARGE_TILES: u32 = 256;
/// From here on a quarter of a sum is long beside the adding up.
const LONG_SUM: usize = 256;
/// So many workgroups occupy a GPU; and the fewest steps of k that are worth one, and parts their adding up.
const MANY_WORKGROUPS: u32 = 256;
const STEPS_OF_PART: u32 = 1024;
/// Outputs of 16 workgroups of the kernel for vectors.
const ENOUGH_OUTPUTS: u32 = 1024;
/// Parts to try where nothing is known.
const FEW_PARTS: u32 = 8;

impl MatmulKernel {
    /// Every kernel that can make a product on an adapter, but for those that take a software adapter a second to compile.
    #[cfg(all(feature = "files", not(target_family = "wasm")))]
    pub fn candidates(op: &Matmul, variants: Adapter) -> Vec<Self> {
        let mut kernels = vec![Tiled { slices: 1 }, Tiled { slices: 4 }];
        // More multiply-adds could take it seconds on a GPU, after which an operating system resets that.
        const MOST_OF_PLAIN: u64 = 1 << 28;
        if variants.software || size(op) <= MOST_OF_PLAIN {
            kernels.push(Plain);
        }
        if !variants.software {
            kernels.push(Large);
            if parts(op) > 1 || is_deep(op) {
                kernels.push(split(op));
            }
        }
        if is_vector(op) {
            kernels.push(vector(variants));
        }
        if let Some(lanes) = variants.matmul_subgroup {
            kernels.extend([8, 16, 32, 64].map(|rows| Subgroup { rows, lanes }));
            if variants.wide_access && wide_fits(op) {
                kernels.extend([8, 16, 32].map(|rows| Wide { rows }));
            }
            kernels.extend(panel(op, variants));
        }
        kernels
    }

    /// The kernel for a product where nothing has been measured.
    ///
    /// For a vector the kernel that reads each number of the matrix once, unless on a GPU a few workgroups would have it all to do.
    /// Else, on GPUs the tiled one: workgroup memory feeds many multiply-adds per load, more of them in large tiles, where C has
    /// many and invocations may have many registers. Where it has too few tiles to occupy a GPU, k is split, within workgroups
    /// or over them. On software adapters, where a barrier costs more than any load, a subgroup that is a vector register:
    /// the more rows, the more a load of B is used, but the longer the driver compiles. There a panel of B stays at hand where
    /// sums are short, or many rows use it. Of a software adapter without such subgroups the plain one.
    pub fn rule(op: &Matmul, variants: Adapter) -> Self {
        let in_parts = !variants.software && parts(op) > 1;
        if is_vector(op)
            && variants.products.map_or(!in_parts || vector_occupies_gpu(op), |family| family == Products::Vector)
        {
            return vector(variants);
        }
        let update = if matches!(op.epilogue, Epilogue::Update(_)) { OF_UPDATE } else { 0 };
        let size = size(op) + u64::from(op.m) * u64::from(op.n) * update;
        let subgroups = variants.matmul_subgroup.filter(|_| variants.products.is_some() || size > SMALL);
        let family = variants.products.unwrap_or(match (variants.software, subgroups) {
            (false, _) if in_parts => Products::Split,
            (false, _) => Products::Tiled,
            (true, None) => Products::Plain,
            (true, Some(_)) if op.layout == Layout::Tn || op.m >= MANY_ROWS && size >= PANELS => Products::Panel,
            (true, Some(_)) => Products::Wide,
        });
        let lanes = match (family, subgroups) {
            (Products::Large, _) => return Large,
            (Products::Split, _) => return split(op),
            (Products::Tiled, _) => {
                if variants.many_registers && tiles(op, 64) >= MANY_LARGE_TILES {
                    return Large;
                }
                return Tiled { slices: if is_deep(op) { 4 } else { 1 } };
            }
            (Products::Plain | Products::Vector, _) | (_, None) => return Plain,
            (_, Some(lanes)) => lanes,
        };
        if let (Products::Panel, Some(panel)) = (family, panel(op, variants)) {
            return panel;
        }
        let rows = match op.m {
            ..=8 => 8,
            9..=16 => 16,
            17..=32 if lanes == 16 => 32,
            _ if lanes == 16 => 64,
            _ if size > MEDIUM => 32,
            _ => 16,
        };
        let wide = matches!(family, Products::Wide | Products::Panel) && variants.wide_access && wide_fits(op);
        if wide { Wide { rows } } else { Subgroup { rows, lanes } }
    }
}

/// Multiply-adds.
fn size(op: &Matmul) -> u64 {
    u64::from(op.m) * u64::from(op.n) * u64::from(op.k)
}

/// Into how many parts k is best cut on a GPU: as many as occupy it, where C has few tiles, but none too short.
fn parts(op: &Matmul) -> u32 {
    (MANY_WORKGROUPS / tiles(op, 32).max(1)).min(op.slice.len() as u32 / STEPS_OF_PART)
}

/// The product in those, or in a few, to try.
fn split(op: &Matmul) -> MatmulKernel {
    Split { parts: if parts(op) > 1 { parts(op) } else { FEW_PARTS } }
}

/// Whether C has few tiles, and sums are long.
fn is_deep(op: &Matmul) -> bool {
    tiles(op, 32) < FEW_TILES && op.slice.len() >= LONG_SUM
}

/// Square tiles of C.
fn tiles(op: &Matmul, side: u32) -> u32 {
    op.m.div_ceil(side) * op.n.div_ceil(side)
}

/// Whether the kernel for vectors has enough workgroups on a GPU. Where outputs are sums over columns, one has 64.
fn vector_occupies_gpu(op: &Matmul) -> bool {
    let over_columns = if op.n == 1 { op.layout == Layout::Tn } else { op.layout != Layout::Nt };
    !over_columns || op.m.max(op.n) >= ENOUGH_OUTPUTS
}

/// The kernel for vectors: on a software adapter of one vector register's lanes, unless the one of GPUs is to be tested.
fn vector(variants: Adapter) -> MatmulKernel {
    Vector { lanes: if variants.software && variants.products.is_none() { 8 } else { 64 } }
}

/// The kernel for a panel of B, where it can make a product.
fn panel(op: &Matmul, variants: Adapter) -> Option<MatmulKernel> {
    let fits = match op.layout {
        Layout::Tn => op.slice == (0..op.k) && op.k <= PANEL && op.m.is_multiple_of(4),
        // Between two panels the sums are in C, where an update has its parameters.
        _ if matches!(op.epilogue, Epilogue::Update(_)) || op.bias_gradient.is_some() => false,
        _ => op.slice.len() <= MOST_PANELS * PANEL as usize && steps_fit(op),
    };
    let steps = if op.layout == Layout::Tn { op.k.next_multiple_of(8) } else { PANEL };
    (variants.wide_access && op.n.is_multiple_of(8) && fits).then_some(Panel { steps })
}

/// Into how many tiles the rows go there: each thread should have several, but a panel's loading wants rows to share it.
pub(crate) fn tiles_of_rows(op: &Matmul, tiles_n: u32, threads: u32) -> u32 {
    let enough = (WORKGROUPS_OF_THREAD * threads).div_ceil(tiles_n);
    enough.min(op.m.div_ceil(FEW_PANEL_ROWS)).max(op.m.div_ceil(PANEL_ROWS))
}

/// How many rows of tiles the wide kernel goes through together. All, so that columns of B are loaded once, but where C is large
/// beside A and B: it is gone through in its own order, unless B is too large to stay near for the next row.
pub(crate) fn block(op: &Matmul, rows: u32) -> u32 {
    let tiles_m = op.m.div_ceil(rows);
    match op.layout {
        Layout::Nn | Layout::Nt => tiles_m,
        Layout::Tn if u64::from(op.k) * u64::from(op.n) <= NEAR => 1,
        Layout::Tn => (ROWS_OF_BLOCK / op.k).max(1),
    }
}

/// Whether an operand is a vector, and the rows of the other are whole vectors of four for the kernel. Where C is a row, the
/// column sums of B are the other kernels' to make.
fn is_vector(op: &Matmul) -> bool {
    let (row_of_matrix, sums_rows) = match (op.n, op.m, op.layout) {
        (1, _, Layout::Tn) => (op.m, false),
        (1, _, _) => (op.k, true),
        (_, 1, Layout::Nt) => (op.k, true),
        (_, 1, _) => (op.n, op.bias_gradient.is_some()),
        _ => return false,
    };
    let biases = op.bias_gradient.is_some() && sums_rows;
    row_of_matrix.is_multiple_of(4) && !biases && op.k > 1
}

/// Whether the rows of the matrices are whole words for the wide kernel.
fn wide_fits(op: &Matmul) -> bool {
    op.n.is_multiple_of(8) && if op.layout == Layout::Tn { op.m.is_multiple_of(8) } else { steps_fit(op) }
}

/// Whether k and its slice are whole words.
fn steps_fit(op: &Matmul) -> bool {
    [op.k, op.slice.start, op.slice.end].iter().all(|k| k.is_multiple_of(8))
}
