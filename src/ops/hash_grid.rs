//! Hash grids, forward pass. CPU and GPU find the same cells, because the product that determines a cell is rounded
//! once and then truncated. The remaining fraction may come from the unrounded product (a fused multiply-add).

use super::*;
use crate::encoding::{GridInterpolation, GridStorage, HashGrid};

/// Hash-grid encoding of points. In each level, the entries at the corners of a point's cell are interpolated.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridForward {
    /// Options of the grid.
    pub options: HashGrid,
    /// \[rows, dimensions\]: points with 1 to 4 coordinates.
    pub x: Tensor,
    /// \[entries, features\]: an entry has 1, 2, 4 or 8 features.
    pub table: Tensor,
    /// u32 \[levels, 4\]: cells per side, first entry, mask of hashes (0 if entries are numbered), vertices
    /// along a side that have numbered entries.
    pub levels: Tensor,
    /// \[rows, levels · features\], written.
    pub y: Tensor,
}

impl Kernel for HashGridForward {
    binds! { "hash_grid": read x, read levels, read table, write y }

    fn flops(&self) -> u64 {
        // Per corner: its weights and their product. Per feature of its entry: a product and a sum.
        self.grid().of_corners(5, 2)
    }

    fn bytes(&self) -> u64 {
        self.grid().bytes(self, self.table)
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let features = self.grid().features;
        let shader = shader(format!("hash_grid {features}"), grid_source(features), self.grid().constants());
        vec![self.grid().launch(self, shader)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (grid, table, y) = (self.grid(), at.f32s(self.table), at.out::<f32>(self.y));
        y.fill(0.0);
        grid.for_each_corner(at.f32s(self.x), at.words(self.levels), |corner| {
            for (y, value) in y[corner.features..].iter_mut().zip(&table[grid.numbers(corner.entry)]) {
                *y += corner.weight() * value;
            }
        });
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (grid, table) = (self.grid(), at.f32s(self.table));
        let roundings = 2.0 * (f64::from(1 << grid.dimensions) + 1.0) * U;
        let mut bounds = vec![0.0; self.y.len() as usize];
        grid.for_each_corner(at.f32s(self.x), at.words(self.levels), |corner| {
            let share = corner.weight_off(&grid) + f64::from(corner.weight().abs()) * roundings;
            for (bound, value) in bounds[corner.features..].iter_mut().zip(&table[grid.numbers(corner.entry)]) {
                *bound += f64::from(value.abs()) * share;
            }
        });
        vec![Bounds::Each(bounds)]
    }
}

impl HashGridForward {
    fn grid(&self) -> Grid {
        Grid::of(self.options, self.x, self.levels, self.y)
    }
}

const FUNCTIONS: &str = text!("hash_grid.functions.wgsl");
const SOURCE: &str = text!("hash_grid.wgsl.in");
const SLOPE: &str = text!("hash_grid.slope.wgsl.in");

/// Shader text for entries with this many features.
pub(crate) fn grid_source(features: u32) -> String {
    format!("alias Features = {};\n{FUNCTIONS}{SOURCE}", of_entry(features))
}

/// WGSL type of an entry.
fn of_entry(features: u32) -> &'static str {
    match features {
        1 => "f32",
        2 => "vec2f",
        4 => "vec4f",
        _ => "mat2x4f",
    }
}

/// The statements of `entry_of_table(i)` for a table that begins at number `table` of an array of vec4f.
pub(crate) fn grid_entry(parameters: &str, table: u32, features: u32) -> String {
    let first = table / 4;
    match features {
        1 => format!("return {parameters}[{first}u + i / 4u][i % 4u];"),
        2 => {
            let quad = format!("let quad = {parameters}[{first}u + i / 2u];");
            format!("{quad}\n    return select(quad.xy, quad.zw, i % 2u == 1u);")
        }
        4 => format!("return {parameters}[{first}u + i];"),
        _ => {
            let quad = |k: u32| format!("{parameters}[{}u + i * 2u]", first + k);
            format!("return mat2x4f({}, {});", quad(0), quad(1))
        }
    }
}

/// For texts of other kernels: appends `fn NAME(point: vec4f, level: vec4u) -> Features`, which returns the features
/// of a point in a level, and the functions that it calls. Their names begin with `prefix`, which must differ between
/// grids with other options. The table lies in an array of vec4f and begins at number `table`.
pub(crate) fn interpolation(
    texts: &mut Vec<String>,
    (grid, dimensions): (HashGrid, u32),
    (parameters, table): (&str, u32),
    name: &str,
    prefix: &str,
) {
    let entry = grid_entry(parameters, table, grid.features_per_level);
    let text = format!("{FUNCTIONS}{SOURCE}").replace("Features", of_entry(grid.features_per_level));
    let text = with_options(&text.replace("return table[i];", &entry), grid, dimensions);
    excerpt(texts, &text, "interpolated", |called| match called {
        "interpolated" => name.to_owned(),
        // Specific to this grid.
        "entry_of_table" => format!("{name}_entry"),
        called => format!("{prefix}{called}"),
    });
}

/// For texts of other kernels: appends `fn NAME(point: vec4f, level: vec4u, gradient: Features) -> vec4f`, which returns
/// the gradient of a point's coordinates for that gradient of a level's features. `level` is the name of the function
/// that [`interpolation`] appended.
pub(crate) fn level_slope(
    texts: &mut Vec<String>,
    (grid, dimensions): (HashGrid, u32),
    level: &str,
    name: &str,
    prefix: &str,
) {
    let value = match grid.features_per_level {
        1 => format!("return {level}_entry(i) * gradient;"),
        8 => {
            let entry = format!("let entry = {level}_entry(i);");
            format!("{entry}\n    return dot(entry[0], gradient[0]) + dot(entry[1], gradient[1]);")
        }
        _ => format!("return dot({level}_entry(i), gradient);"),
    };
    let value = format!("\nfn corner_value(i: u32, gradient: Gradient) -> f32 {{\n    {value}\n}}\n");
    let text = format!("{FUNCTIONS}{SLOPE}{value}").replace("Gradient", of_entry(grid.features_per_level));
    let text = with_options(&text, grid, dimensions);
    excerpt(texts, &text, "level_slope", |called| match called {
        "level_slope" => name.to_owned(),
        "corner_value" => format!("{name}_value"),
        called => format!("{prefix}{called}"),
    });
}

/// The text with the values of its constants.
fn with_options(text: &str, grid: HashGrid, dimensions: u32) -> String {
    let text = text.replace("DIMENSIONS", &format!("{dimensions}u"));
    let text = text.replace("INTERPOLATION", &format!("{}u", interpolation_number(grid.interpolation)));
    text.replace("TILED", &(grid.storage == GridStorage::Tiled).to_string())
}

/// Number of an interpolation in the shaders.
fn interpolation_number(interpolation: GridInterpolation) -> u32 {
    match interpolation {
        GridInterpolation::Linear => 0,
        GridInterpolation::Smoothstep => 1,
        GridInterpolation::Nearest => 2,
    }
}

/// Sizes that the ops of a hash grid share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub rows: u32,
    pub dimensions: u32,
    pub levels: u32,
    pub features: u32,
    pub interpolation: GridInterpolation,
    pub tiled: bool,
}

impl Grid {
    const LANES: u32 = 64;

    /// Sizes from the points, the table of levels, and the features or their gradient.
    pub fn of(options: HashGrid, x: Tensor, levels: Tensor, y: Tensor) -> Self {
        let (levels, interpolation) = (levels.rows(), options.interpolation);
        let (features, tiled) = (y.columns() / levels, options.storage == GridStorage::Tiled);
        Self { rows: x.rows(), dimensions: x.columns(), levels, features, interpolation, tiled }
    }

    /// Total of `each` per corner and `number` per feature of its entry, over the cells of all points in all levels.
    pub fn of_corners(&self, each: u64, number: u64) -> u64 {
        let each = each + number * u64::from(self.features);
        (u64::from(self.rows) * u64::from(self.levels) * each) << self.dimensions
    }

    /// Memory traffic. Of `table`, only the entries at the corners of the points' cells count.
    pub fn bytes(&self, op: &impl Kernel, table: Tensor) -> u64 {
        let of_operand = |operand: &Operand| match operand.tensor == Some(table) {
            true => operand.traffic() / table.bytes() * 4 * self.of_corners(0, 1),
            false => operand.traffic(),
        };
        op.operands().iter().map(of_operand).sum()
    }

    /// Workgroups for the rows of the first level, then for those of the next level.
    pub fn launch(&self, op: &impl Kernel, shader: Shader) -> Launch {
        let Self { rows, levels, .. } = *self;
        let groups = rows.div_ceil(Self::LANES);
        let workgroups = u64::from(groups) * u64::from(levels);
        Launch { shader, uniforms: uniforms![rows, levels, groups], bindings: op.operands(), workgroups }
    }

    /// Workgroups for the rows.
    pub fn launch_rows(&self, op: &impl Kernel, shader: Shader) -> Launch {
        let Self { rows, levels, .. } = *self;
        let workgroups = rows.div_ceil(Self::LANES).into();
        Launch { shader, uniforms: uniforms![rows, levels], bindings: op.operands(), workgroups }
    }

    /// Constants of the shaders.
    pub fn constants(&self) -> Vec<(&'static str, f64)> {
        let interpolation = interpolation_number(self.interpolation);
        vec![
            ("DIMENSIONS", self.dimensions.into()),
            ("INTERPOLATION", interpolation.into()),
            ("TILED", self.tiled.into()),
        ]
    }

    /// Constants of the shaders that also depend on the number of features.
    pub fn constants_with_features(&self) -> Vec<(&'static str, f64)> {
        [self.constants(), vec![("FEATURES", self.features.into())]].concat()
    }

    /// Range of an entry's numbers in the table.
    pub fn numbers(&self, entry: usize) -> std::ops::Range<usize> {
        let features = self.features as usize;
        entry * features..(entry + 1) * features
    }

    /// Visits the corners of each point's cell in each level.
    pub fn for_each_corner(&self, x: &[f32], levels: &[u32], mut visit: impl FnMut(Corner)) {
        let dimensions = self.dimensions as usize;
        for (row, x) in x.chunks_exact(dimensions).enumerate() {
            let mut point = [0.0; 4];
            point[..dimensions].copy_from_slice(x);
            for (level, words) in levels.as_chunks().0.iter().enumerate() {
                let [resolution, first, mask, tile]: [u32; 4] = *words;
                let side = resolution as f32;
                // NaN stays NaN: clamp keeps it. As an integer it is 0.
                let position = point.map(|x| (x * side).clamp(0.0, side));
                let vertex = position.map(|p| (p as u32).min(resolution - 1));
                let fractions = [0, 1, 2, 3].map(|axis| position[axis] - vertex[axis] as f32);
                let weights = fractions.map(|t| self.interpolation.weight(t));
                for corner in 0..1u32 << dimensions {
                    let far = [0, 1, 2, 3].map(|axis| corner >> axis & 1 == 1);
                    let mut shares = [0.0; 4];
                    let mut v = vertex;
                    for axis in 0..4 {
                        shares[axis] = if far[axis] { weights[axis] } else { 1.0 - weights[axis] };
                        v[axis] += u32::from(far[axis]);
                    }
                    let entry = (first + entry(v, tile, mask)) as usize;
                    let features = (row * self.levels as usize + level) * self.features as usize;
                    visit(Corner { row, level, resolution, entry, features, fractions, shares, far });
                }
            }
        }
    }
}

/// A corner of the cell that contains a point.
pub(crate) struct Corner {
    /// Row of the point.
    pub row: usize,
    pub level: usize,
    /// Cells per side of the level.
    pub resolution: u32,
    /// Index of the corner's entry in the table.
    pub entry: usize,
    /// Index of the point's first feature in this level.
    pub features: usize,
    /// Position of the point in its cell along each axis, 0 to 1.
    pub fractions: [f32; 4],
    /// Interpolation weight along each axis.
    pub shares: [f32; 4],
    /// Along each axis: true if the corner is on the far side of the cell.
    pub far: [bool; 4],
}

impl Corner {
    pub fn weight(&self) -> f32 {
        let [x, y, z, w] = self.shares;
        (x * y) * (z * w)
    }

    /// Error bound of a weight along an axis. The position, at most the resolution, is rounded or not; so is 1 −
    /// fraction.
    pub fn share_off(&self, grid: &Grid, axis: usize) -> f64 {
        let off = U * (f64::from(self.resolution) + 2.0);
        match grid.interpolation {
            GridInterpolation::Linear => off,
            // The slope is at most 3/2. Each side has four roundings of numbers up to 1.
            GridInterpolation::Smoothstep => 1.5 * off + 2.0 * 4.0 * U,
            // Halfway between two vertices, the sides may choose different ones.
            GridInterpolation::Nearest => f64::from(u8::from((f64::from(self.fractions[axis]) - 0.5).abs() <= off)),
        }
    }

    /// Derivative of the far corners' weight along an axis, and its error bound.
    pub fn slope(&self, grid: &Grid, axis: usize) -> (f64, f64) {
        let slope = grid.interpolation.slope(self.fractions[axis]).into();
        match grid.interpolation {
            // The second derivative is at most 6. Each side has three roundings of numbers up to 3/2.
            GridInterpolation::Smoothstep => (slope, U * (6.0 * (f64::from(self.resolution) + 2.0) + 2.0 * 3.0 * 1.5)),
            _ => (slope, 0.0),
        }
    }

    /// Error bound of the corner's weight. The errors along the axes add up, because these weights are at most 1.
    /// Three products are rounded.
    pub fn weight_off(&self, grid: &Grid) -> f64 {
        let of_axes: f64 = (0..grid.dimensions as usize).map(|axis| self.share_off(grid, axis)).sum();
        of_axes + 2.0 * 3.0 * U * f64::from(self.weight().abs())
    }
}

/// Index of a vertex's entry in its level. Numbered entries repeat after `side` vertices.
fn entry(v: [u32; 4], side: u32, mask: u32) -> u32 {
    if mask == 0 {
        return v.iter().rev().fold(0, |number, v| number * side + v % side);
    }
    let primes = [1, 2_654_435_761, 805_459_861, 3_674_653_429];
    v.iter().zip(primes).fold(0, |hash, (v, prime)| hash ^ v.wrapping_mul(prime)) & mask
}
