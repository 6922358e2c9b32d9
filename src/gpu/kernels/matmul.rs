//! Host side of `shaders/matmul.wgsl.in` and of its variants. All follow the functions of `pointwise.wgsl`.

use super::{Launch, Products, Variants, declarations, pointwise, read, write};
use crate::activation::Activation;
use crate::gpu::pipelines::Shader;
use crate::gpu::template;
use crate::plan::{Epilogue, Layout, Matmul};

const TILED: &str = include_str!("../../../shaders/matmul.wgsl.in");
const PLAIN: &str = include_str!("../../../shaders/matmul.plain.wgsl.in");
const SUBGROUP: &str = include_str!("../../../shaders/matmul.subgroup.wgsl.in");
const WIDE: &str = include_str!("../../../shaders/matmul.wide.wgsl.in");

/// A way to make a product. Each gives the same within the bounds of the lockstep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatmulKernel {
    /// `matmul.wgsl.in`: tiles of both operands in workgroup memory.
    Tiled,
    /// `matmul.plain.wgsl.in`: nothing is shared.
    Plain,
    /// `matmul.subgroup.wgsl.in`: a subgroup of so many lanes makes so many rows of C.
    Subgroup { rows: u32, lanes: u32 },
    /// `matmul.wide.wgsl.in`: the same of 8 lanes in words of 64 bits.
    Wide { rows: u32 },
}

use MatmulKernel::{Plain, Subgroup, Tiled, Wide};

/// Up to here a product takes less time than the driver's compiler takes for a better kernel than the plain one.
const SMALL: u64 = 1 << 19;
/// Up to here the compiler's time for 32 rows of a product by a transpose is not worth it.
const MEDIUM: u64 = 1 << 25;

impl MatmulKernel {
    /// Every kernel that can make a product on an adapter.
    pub fn candidates(op: &Matmul, variants: Variants) -> Vec<Self> {
        let mut kernels = vec![Tiled, Plain];
        if let Some(lanes) = variants.matmul_subgroup {
            kernels.extend([8, 16, 32, 64].map(|rows| Subgroup { rows, lanes }));
            if variants.wide_access && words_fit(op) {
                kernels.extend([8, 16, 32].map(|rows| Wide { rows }));
            }
        }
        kernels
    }

    /// The kernel for a product where nothing has been measured.
    ///
    /// On GPUs the tiled one: workgroup memory feeds many multiply-adds per load. On software adapters, where a barrier
    /// costs more than any load, a subgroup that is a vector register: the more rows, the more a load of B is used, but the
    /// longer the driver compiles. Of a software adapter without such subgroups the plain one.
    pub fn rule(op: &Matmul, variants: Variants) -> Self {
        let size = u64::from(op.m) * u64::from(op.n) * u64::from(op.k);
        let subgroups = variants.matmul_subgroup.filter(|_| variants.products.is_some() || size > SMALL);
        let family = variants.products.unwrap_or(match (variants.software, subgroups) {
            (false, _) => Products::Tiled,
            (true, None) => Products::Plain,
            (true, Some(_)) => Products::Wide,
        });
        let lanes = match (family, subgroups) {
            (Products::Tiled, _) => return Tiled,
            (Products::Plain, _) | (_, None) => return Plain,
            (_, Some(lanes)) => lanes,
        };
        let rows = match op.m {
            ..=8 => 8,
            ..=16 => 16,
            _ if op.layout == Layout::Nt && size <= MEDIUM => 16,
            _ => 32,
        };
        let wide = family == Products::Wide && variants.wide_access && words_fit(op);
        if wide { Wide { rows } } else { Subgroup { rows, lanes } }
    }
}

/// Whether the rows of the matrices are whole words for the wide kernel.
fn words_fit(op: &Matmul) -> bool {
    let row_of_a = if op.layout == Layout::Tn { op.m } else { op.k };
    op.n.is_multiple_of(8) && row_of_a.is_multiple_of(4)
}

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
}

pub(super) fn launch(op: &Matmul, kernel: MatmulKernel) -> Launch {
    let (epilogue, activation) = match op.epilogue {
        _ if op.slice.end < op.k => (0, Activation::Identity),
        Epilogue::None => (0, Activation::Identity),
        Epilogue::Bias { activation, .. } => (1, activation),
        Epilogue::Derivative { activation, .. } => (2, activation),
    };
    let transpose_a = op.layout == Layout::Tn;
    // A single column is the same numbers either way; as a row it is read in whole vectors.
    let transpose_b = op.layout == Layout::Nt || op.n == 1;
    let text = MatmulText { kernel, transpose_a, transpose_b, aligned: op.n.is_multiple_of(4), epilogue, activation };
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
    constants.extend(pointwise::constants(activation));
    let (tiles, tiles_n) = match text.tile() {
        Some([rows, columns]) => (op.m.div_ceil(rows) * op.n.div_ceil(columns), op.n.div_ceil(columns)),
        None => ((op.m.div_ceil(4) * op.n.div_ceil(4)).div_ceil(64), 1),
    };
    let uniforms =
        MatmulUniforms { m: op.m, n: op.n, k: op.k, k_start: op.slice.start, k_end: op.slice.end, tiles_n, tiles };
    Launch {
        shader: Shader { name: text.name().into(), source: text.source().into(), constants },
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.a), read(op.b), read(extra), write(op.c), write(op.bias_gradient)],
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
    /// As the shader numbers them.
    pub epilogue: u32,
    pub activation: Activation,
}

impl MatmulText {
    /// Rows and columns of C per workgroup, where it makes a tile.
    fn tile(self) -> Option<[u32; 2]> {
        match self.kernel {
            Tiled => Some([32, 32]),
            Plain => None,
            Subgroup { rows, lanes } => Some([rows, 4 * lanes]),
            Wide { rows } => Some([rows, 64]),
        }
    }

    pub fn name(self) -> String {
        let Self { transpose_a, transpose_b, aligned, activation, .. } = self;
        let flag = |name, set| if set { name } else { "" };
        match self.kernel {
            Tiled => format!("matmul {activation}"),
            Plain => format!("matmul.plain {activation}"),
            Subgroup { rows, lanes } => {
                format!("matmul.subgroup {rows}x{lanes}{} {activation} {}", flag(" aligned", aligned), self.pass())
            }
            Wide { rows } => {
                let (a, b) = (flag(" A transposed", transpose_a), flag(" B transposed", transpose_b));
                format!("matmul.wide {rows}{a}{b} {activation}")
            }
        }
    }

    /// The activation's functions, the declarations of the tiled kernel's file, then the kernel.
    pub fn source(self) -> String {
        let Self { transpose_a, transpose_b, aligned, activation, .. } = self;
        let functions = pointwise::functions(activation);
        let kernel = match self.kernel {
            Tiled => return functions + TILED,
            Plain => PLAIN.to_owned(),
            Subgroup { rows, lanes } => {
                let conditions =
                    [("the rows of C are a multiple of 4 long", aligned), ("the rows of C are of any length", !aligned)];
                template::expand(SUBGROUP, &self.counts(rows, lanes), &conditions)
            }
            Wide { rows } => {
                let conditions = [
                    ("A is transposed", transpose_a),
                    ("A is as it is", !transpose_a),
                    ("B is transposed", transpose_b),
                    ("B is as it is", !transpose_b),
                ];
                template::expand(WIDE, &self.counts(rows, 8), &conditions)
            }
        };
        functions + declarations(TILED) + &kernel
    }

    /// How many rows leave the accumulators at a time. Moving all of them costs most of a short product's time where one
    /// row leaves at a time; but code for each row costs the driver's compiler most of its.
    fn pass(self) -> u32 {
        match self.kernel {
            Subgroup { .. } if self.epilogue == 0 && self.aligned => 8,
            Wide { .. } if self.epilogue == 0 => 2,
            _ => 1,
        }
    }

    fn counts(self, rows: u32, lanes: u32) -> [(&'static str, u32); 9] {
        let pass = self.pass();
        [
            ("row", rows),
            ("rows", rows),
            ("lanes", lanes),
            ("group", rows.div_ceil(lanes)),
            ("step", 4),
            ("column", 8),
            ("pass", pass),
            ("leaving row", pass),
            ("staying row", rows - pass),
        ]
    }
}
