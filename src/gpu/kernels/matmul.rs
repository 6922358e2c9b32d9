//! Host side of `shaders/matmul.wgsl.in` and of its variants, and the rule that chooses among them. All follow the functions
//! of `pointwise.wgsl`, or of `update.wgsl` where the sums are gradients.

use super::{Launch, Products, Variants, WORDS, declarations, pointwise, read, update, write};
use crate::activation::Activation;
use crate::gpu::pipelines::Shader;
use crate::gpu::template;
use crate::plan::{Epilogue, Layout, Matmul};

const TILED: &str = include_str!("../../../shaders/matmul.wgsl.in");
const SUMS: &str = include_str!("../../../shaders/matmul.sums.wgsl.in");
const LOADS: &str = include_str!("../../../shaders/matmul.loads.wgsl.in");
const LARGE: &str = include_str!("../../../shaders/matmul.large.wgsl.in");
const VECTOR: &str = include_str!("../../../shaders/matmul.vector.wgsl.in");
const PLAIN: &str = include_str!("../../../shaders/matmul.plain.wgsl.in");
const SUBGROUP: &str = include_str!("../../../shaders/matmul.subgroup.wgsl.in");
const WIDE: &str = include_str!("../../../shaders/matmul.wide.wgsl.in");
const WIDE_PANEL: &str = include_str!("../../../shaders/matmul.wide.panel.wgsl.in");
const WIDE_SUMS: &str = include_str!("../../../shaders/matmul.wide.sums.wgsl.in");

/// What all kernels are made from, for who keeps a choice among them.
#[cfg(all(feature = "files", not(target_family = "wasm")))]
pub(crate) const TEXTS: [&str; 13] = [
    TILED,
    SUMS,
    LOADS,
    LARGE,
    VECTOR,
    PLAIN,
    SUBGROUP,
    WIDE,
    WIDE_PANEL,
    WIDE_SUMS,
    WORDS,
    pointwise::SOURCE,
    update::PLAIN,
];

/// A way to make a product. Each gives the same within the bounds of the lockstep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatmulKernel {
    /// `matmul.wgsl.in`: tiles of both operands in workgroup memory, k in so many slices summed side by side.
    Tiled { slices: u32 },
    /// `matmul.large.wgsl.in`: the same, four times as much of C at a time.
    Large,
    /// `matmul.vector.wgsl.in`: one operand is a vector; so many invocations work together.
    Vector { lanes: u32 },
    /// `matmul.plain.wgsl.in`: nothing is shared.
    Plain,
    /// `matmul.subgroup.wgsl.in`: a subgroup of so many lanes makes so many rows of C.
    Subgroup { rows: u32, lanes: u32 },
    /// `matmul.wide.wgsl.in`: the same of 8 lanes in words of 64 bits.
    Wide { rows: u32 },
    /// `matmul.wide.panel.wgsl.in`: with so many steps of k at hand, which are all there are where A is transposed.
    Panel { steps: u32 },
}

use MatmulKernel::{Large, Panel, Plain, Subgroup, Tiled, Vector, Wide};

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

/// Fewer tiles leave most of a GPU idle, which has some 40 to 130 processors that each hold several workgroups.
const FEW_TILES: u32 = 128;
/// From so many tiles of 64x64 on, every processor has some to take turns with, which is what a kernel of many registers needs.
const MANY_LARGE_TILES: u32 = 256;
/// From here on a quarter of a sum is long beside the adding up.
const LONG_SUM: usize = 256;

impl MatmulKernel {
    /// Every kernel that can make a product on an adapter, but for those that take a software adapter a second to compile.
    #[cfg(all(feature = "files", not(target_family = "wasm")))]
    pub fn candidates(op: &Matmul, variants: Variants) -> Vec<Self> {
        let mut kernels = vec![Tiled { slices: 1 }, Tiled { slices: 4 }, Plain];
        if !variants.software {
            kernels.push(Large);
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
    /// For a vector the kernel that reads each number of the matrix once. Else, on GPUs the tiled one: workgroup memory feeds
    /// many multiply-adds per load, more of them in large tiles, where C has many. Where it has too few tiles to occupy a GPU,
    /// k is split. On software adapters, where a barrier costs more than any load, a subgroup that is a vector register: the
    /// more rows, the more a load of B is used, but the longer the driver compiles. There a panel of B stays at hand where
    /// sums are short, or many rows use it. Of a software adapter without such subgroups the plain one.
    pub fn rule(op: &Matmul, variants: Variants) -> Self {
        if is_vector(op) && variants.products.is_none_or(|family| family == Products::Vector) {
            return vector(variants);
        }
        let update = if matches!(op.epilogue, Epilogue::Update(_)) { OF_UPDATE } else { 0 };
        let size = u64::from(op.m) * u64::from(op.n) * (u64::from(op.k) + update);
        let subgroups = variants.matmul_subgroup.filter(|_| variants.products.is_some() || size > SMALL);
        let family = variants.products.unwrap_or(match (variants.software, subgroups) {
            (false, _) => Products::Tiled,
            (true, None) => Products::Plain,
            (true, Some(_)) if op.layout == Layout::Tn || op.m >= MANY_ROWS && size >= PANELS => Products::Panel,
            (true, Some(_)) => Products::Wide,
        });
        let lanes = match (family, subgroups) {
            (Products::Large, _) => return Large,
            (Products::Tiled, _) => {
                let tiles = |side| op.m.div_ceil(side) * op.n.div_ceil(side);
                if tiles(64) >= MANY_LARGE_TILES {
                    return Large;
                }
                let few = tiles(32) < FEW_TILES && op.slice.len() >= LONG_SUM;
                return Tiled { slices: if few { 4 } else { 1 } };
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

/// The kernel for vectors: on a software adapter of one vector register's lanes, unless the one of GPUs is to be tested.
fn vector(variants: Variants) -> MatmulKernel {
    Vector { lanes: if variants.software && variants.products.is_none() { 8 } else { 64 } }
}

/// The kernel for a panel of B, where it can make a product.
fn panel(op: &Matmul, variants: Variants) -> Option<MatmulKernel> {
    let fits = match op.layout {
        Layout::Tn => op.slice == (0..op.k) && op.k <= PANEL && op.m.is_multiple_of(4),
        // Between two panels the sums are in C, where an update has its parameters.
        _ if matches!(op.epilogue, Epilogue::Update(_)) || op.bias_gradient.is_some() => false,
        _ => op.slice.len() <= MOST_PANELS * PANEL as usize && steps_fit(op, 8),
    };
    let steps = if op.layout == Layout::Tn { op.k.next_multiple_of(8) } else { PANEL };
    (variants.wide_access && op.n.is_multiple_of(8) && fits).then_some(Panel { steps })
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
    op.n.is_multiple_of(8) && if op.layout == Layout::Tn { op.m.is_multiple_of(8) } else { steps_fit(op, 4) }
}

/// Whether k and its slice are whole words of so many steps.
fn steps_fit(op: &Matmul, steps: u32) -> bool {
    [op.k, op.slice.start, op.slice.end].iter().all(|k| k.is_multiple_of(steps))
}

/// Blocks of 4x4 outputs that a workgroup of the plain kernel makes.
const PLAIN_BLOCKS: u32 = 16;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MatmulUniforms {
    m: u32,
    n: u32,
    k: u32,
    k_start: u32,
    k_end: u32,
    tiles_n: u32,
    tiles: u32,
    bias_at: u32,
}

pub(in crate::gpu) fn launch(op: &Matmul, kernel: MatmulKernel, variants: Variants) -> Launch {
    let (epilogue, activation) = match op.epilogue {
        _ if op.slice.end < op.k => (0, Activation::Identity),
        Epilogue::None | Epilogue::Update(_) => (0, Activation::Identity),
        Epilogue::Bias { activation, .. } => (1, activation),
        Epilogue::Derivative { activation, .. } => (2, activation),
    };
    let update = match &op.epilogue {
        Epilogue::Update(update) => Some(update.as_ref()),
        _ => None,
    };
    let transpose_a = op.layout == Layout::Tn;
    // A single column is the same numbers either way; as a row it is read in whole vectors.
    let transpose_b = op.layout == Layout::Nt || op.n == 1;
    let aligned = op.n.is_multiple_of(4);
    let updates = update.is_some();
    let c_is_row = op.n > 1 && op.m == 1;
    let text = MatmulText { kernel, transpose_a, transpose_b, aligned, activation, updates, c_is_row };
    let row_of_a = if transpose_a { op.m } else { op.k };
    let row_of_b = if transpose_b { op.k } else { op.n };
    let extra = op.extra();
    let mut constants = vec![
        ("TRANSPOSE_A", f64::from(transpose_a)),
        ("TRANSPOSE_B", f64::from(transpose_b)),
        ("A_ALIGNED", f64::from(row_of_a.is_multiple_of(4))),
        ("B_ALIGNED", f64::from(row_of_b.is_multiple_of(4))),
        ("EPILOGUE", f64::from(epilogue)),
        ("BIAS", f64::from(epilogue == 1 && extra.is_some())),
        ("BIAS_GRADIENT", f64::from(op.bias_gradient.is_some())),
        ("CONTINUES", f64::from(op.slice.start > 0)),
    ];
    match update {
        Some(update) => constants.extend(update::constants(update)),
        None => constants.extend(pointwise::constants(activation)),
    }
    let (tiles, tiles_n) = match text.tile() {
        Some([rows, columns]) => (op.m.div_ceil(rows) * op.n.div_ceil(columns), op.n.div_ceil(columns)),
        None if let Panel { .. } = kernel => {
            let tiles_n = op.n.div_ceil(64);
            let enough = (WORKGROUPS_OF_THREAD * variants.threads).div_ceil(tiles_n);
            let tiles_m = enough.min(op.m.div_ceil(FEW_PANEL_ROWS)).max(op.m.div_ceil(PANEL_ROWS));
            (tiles_m * tiles_n, tiles_n)
        }
        None if let Vector { .. } = kernel => (op.m.max(op.n).div_ceil(text.vector_outputs()), 1),
        None => ((op.m.div_ceil(4) * op.n.div_ceil(4)).div_ceil(PLAIN_BLOCKS), 1),
    };
    let Matmul { m, n, k, .. } = *op;
    let (k_start, k_end) = (op.slice.start, op.slice.end);
    let bias_at = op.bias_gradient.map_or(0, |bias| bias.offset.wrapping_sub(op.c.offset));
    let uniforms = MatmulUniforms { m, n, k, k_start, k_end, tiles_n, tiles, bias_at };
    let mut bindings = vec![read(op.a), read(op.b)];
    bindings.extend(match update {
        None => vec![read(extra), write(op.c), write(op.bias_gradient)],
        Some(update) => update::bindings(update),
    });
    Launch {
        shader: Shader { name: text.name().into(), source: text.source().into(), constants },
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings,
        workgroups: tiles.into(),
    }
}

/// What a kernel's text depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct MatmulText {
    pub kernel: MatmulKernel,
    pub transpose_a: bool,
    pub transpose_b: bool,
    /// Whether the rows of C are a multiple of 4 long.
    pub aligned: bool,
    pub activation: Activation,
    /// Whether the sums are gradients, for an optimizer.
    pub updates: bool,
    /// Whether C is a single row.
    pub c_is_row: bool,
}

impl MatmulText {
    /// Rows and columns of C per workgroup, where it makes a tile.
    fn tile(self) -> Option<[u32; 2]> {
        match self.kernel {
            Tiled { .. } => Some([32, 32]),
            Large => Some([64, 64]),
            Plain | Vector { .. } | Panel { .. } => None,
            Subgroup { rows, lanes } => Some([rows, 4 * lanes]),
            Wide { rows, .. } => Some([rows, 64]),
        }
    }

    pub fn name(self) -> String {
        let Self { transpose_a, transpose_b, aligned, activation, updates, .. } = self;
        let flag = |name, set| if set { name } else { "" };
        let whole = flag(" aligned", aligned);
        let kernel = match self.kernel {
            Tiled { slices } => format!("matmul {slices}{whole}"),
            Large => format!("matmul.large{whole}"),
            Vector { lanes } => {
                let (row, along) = (flag(" row", self.c_is_row), flag(" rows", self.outputs_are_rows()));
                format!("matmul.vector {lanes}{row}{along}{whole}")
            }
            Plain => format!("matmul.plain{whole}"),
            Subgroup { rows, lanes } => format!("matmul.subgroup {rows}x{lanes}{whole}"),
            Wide { rows } => {
                let (a, b) = (flag(" A transposed", transpose_a), flag(" B transposed", transpose_b));
                format!("matmul.wide {rows}{a}{b}")
            }
            Panel { steps } => {
                let (a, b) = (flag(" A transposed", transpose_a), flag(" B transposed", transpose_b));
                format!("matmul.wide panel {steps}{a}{b}")
            }
        };
        if updates { format!("{kernel} update") } else { format!("{kernel} {activation}") }
    }

    /// The functions that the sums go through, the declarations of the tiled kernel's file, then the kernel.
    pub fn source(self) -> String {
        let Self { transpose_a, transpose_b, aligned, activation, updates, .. } = self;
        let mut source = match updates {
            false => pointwise::functions(activation),
            true => update::functions().to_owned(),
        };
        source.push_str(declarations(TILED));
        let layout = [
            ("A is transposed", transpose_a),
            ("A is as it is", !transpose_a),
            ("B is transposed", transpose_b),
            ("B is as it is", !transpose_b),
            ("nothing is transposed", !transpose_a && !transpose_b),
        ];
        let of_sums = [("C takes the sums", !updates), ("the sums are gradients", updates)];
        if matches!(self.kernel, Wide { .. } | Panel { .. }) {
            source.push_str(WORDS);
            source.push_str(&template::expand(WIDE_SUMS, &[], &of_sums));
        } else {
            let conditions = [
                ("C takes the sums, in whole vectors", !updates && aligned),
                ("C takes the sums, in rows of any length", !updates && !aligned),
                ("the sums are gradients, in whole vectors", updates && aligned),
                ("the sums are gradients, in rows of any length", updates && !aligned),
            ];
            source.push_str(&template::expand(SUMS, &[], &conditions));
        }
        let kernel = match self.kernel {
            Plain => PLAIN,
            Tiled { slices } => {
                let kernel = &TILED[declarations(TILED).len()..];
                return source
                    + LOADS
                    + &template::expand(kernel, &[("slices", slices)], &[("k is split", slices > 1)]);
            }
            Large => {
                return source + LOADS + &template::expand(LARGE, &[("row", 8), ("step", 16), ("quarter", 4)], &[]);
            }
            Vector { lanes } => {
                let (rows, parts) = (self.outputs_are_rows(), self.vector_parts());
                let conditions = [
                    ("C is a column", !self.c_is_row),
                    ("C is a row", self.c_is_row),
                    ("outputs are rows of the matrix", rows),
                    ("outputs are columns of the matrix", !rows),
                    ("several invocations share columns", parts > 1),
                    ("each invocation has columns of its own", parts == 1),
                ];
                return source + &template::expand(VECTOR, &[("lanes", lanes), ("parts", parts)], &conditions);
            }
            Subgroup { rows, lanes } => {
                return source + LOADS + &template::expand(SUBGROUP, &self.counts(rows, lanes), &[]);
            }
            Wide { rows } => {
                let conditions = [&layout[..], &of_sums].concat();
                // Of a transposed A, `share` lanes have the rows of one step, and a load `parts` steps.
                let share = rows / 8;
                let parts = 4.min(8 / share);
                let of_transposed = [
                    ("k", 4),
                    ("share", share),
                    ("part", parts),
                    ("parts", parts),
                    ("load", 4 / parts),
                    ("pair", rows / 2),
                ];
                let counts = [&self.counts(rows, 8)[..], &of_transposed].concat();
                return source + &template::expand(WIDE, &counts, &conditions);
            }
            Panel { steps } => {
                let conditions = [&layout[..], &of_sums].concat();
                let counts = [
                    ("steps", steps),
                    ("step", steps),
                    ("pair", steps / 2),
                    ("eight", steps / 8),
                    ("earlier step", steps - 8),
                    ("earlier steps", steps - 8),
                    ("new step", 8),
                    ("column", 8),
                    ("half", 4),
                ];
                return source + &template::expand(WIDE_PANEL, &counts, &conditions);
            }
        };
        source + kernel
    }

    /// Of a product with a vector: whether each output is the sum over a row of the matrix, or over a column.
    fn outputs_are_rows(self) -> bool {
        if self.c_is_row { self.transpose_b } else { !self.transpose_a }
    }

    /// How many invocations of that kernel share the steps of a column.
    fn vector_parts(self) -> u32 {
        if matches!(self.kernel, Vector { lanes: 64 }) { 4 } else { 1 }
    }

    /// Outputs of a workgroup of that kernel.
    fn vector_outputs(self) -> u32 {
        match self.kernel {
            Vector { lanes } if !self.outputs_are_rows() => 4 * lanes / self.vector_parts(),
            _ => 4,
        }
    }

    fn counts(self, rows: u32, lanes: u32) -> [(&'static str, u32); 8] {
        [
            ("row", rows),
            ("rows", rows),
            ("lanes", lanes),
            ("group", rows.div_ceil(lanes)),
            ("step", 4),
            ("column", 8),
            ("next row", rows.min(lanes) - 1),
            ("later row", rows.saturating_sub(lanes)),
        ]
    }
}
