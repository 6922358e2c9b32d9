//! Random orthogonal matrices, uniform in Haar's measure.
//!
//! The QR factorisation of a normal matrix is a product of Householder reflections. Each reflection depends only on an
//! independent normal vector (Stewart, 1980). So the vectors are drawn directly, in 4/3 n³ operations without a
//! factorisation.
//!
//! The reflections are applied in blocks by matrix multiplication: H₁ … H_b = I − V T Vᵀ (Schreiber and Van Loan,
//! 1989).

/// The number of reflections in a block.
const BLOCK: usize = 32;
/// The number of parallel partial sums. It does not depend on the machine's vector width, so the bits are the same
/// everywhere.
const LANES: usize = 4;

/// `count` orthonormal vectors with `length` elements each, `count` ≤ `length`. `normal(i, j)` is element j of the
/// normal vector i, for j ≥ i.
pub(crate) fn orthonormal(count: usize, length: usize, normal: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut q = vec![0.0; count * length];
    let mut signs = vec![1.0; count];
    let blocks = (0..count).step_by(BLOCK).rev();
    for first in blocks {
        let end = (first + BLOCK).min(count);
        let width = length - first;
        // The vectors have length √2, so a reflection is I − v vᵀ.
        let mut v = vec![0.0; (end - first) * width];
        for (i, v) in (first..end).zip(v.chunks_exact_mut(width)) {
            let v = &mut v[i - first..];
            v.iter_mut().enumerate().for_each(|(j, v)| *v = normal(i, i + j));
            let norm = dot(v, v).sqrt();
            // The diagonal of R must be positive. Otherwise Q would not be uniform (Mezzadri, 2007).
            signs[i] = if v[0] < 0.0 { 1.0 } else { -1.0 };
            let scale = 1.0 / (norm * (norm + v[0].abs())).sqrt();
            v[0] -= signs[i] * norm;
            v.iter_mut().for_each(|v| *v *= scale);
        }
        // These vectors start as unit vectors.
        (first..end).for_each(|i| q[i * length + i] = 1.0);
        reflect(&mut q[first * length..], length, &v, width);
    }
    for (vector, sign) in q.chunks_exact_mut(length).zip(signs) {
        vector.iter_mut().for_each(|x| *x *= sign);
    }
    q
}

/// Reflects the last `width` elements of each row of `q` by the rows of `v`, from the last to the first.
fn reflect(q: &mut [f64], length: usize, v: &[f64], width: usize) {
    let v: Vec<&[f64]> = v.chunks_exact(width).collect();
    let gram: Vec<Vec<f64>> = v.iter().map(|a| v.iter().map(|b| dot(a, b)).collect()).collect();
    let mut rows: Vec<&mut [f64]> = q.chunks_exact_mut(length).map(|row| &mut row[length - width..]).collect();
    for rows in rows.chunks_mut(ROWS) {
        // Qᵀ ← Qᵀ − (T Vᵀ Q)ᵀ Vᵀ. The inverse of T is the upper triangle of VᵀV.
        let mut along = [[0.0; BLOCK]; ROWS];
        products(rows, &v, &mut along);
        for along in &mut along[..rows.len()] {
            for i in (0..v.len()).rev() {
                along[i] -= (i + 1..v.len()).map(|j| gram[i][j] * along[j]).sum::<f64>();
            }
        }
        subtract(rows, &v, &along);
    }
}

/// The number of rows that are reflected together.
const ROWS: usize = 4;

type Lanes = [f64; LANES];

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let [[sum]] = dots([a], [b]);
    sum
}

/// All dot products of the vectors `a` and `b`. Each loaded element serves several sums.
#[inline(always)]
fn dots<const A: usize, const B: usize>(a: [&[f64]; A], b: [&[f64]; B]) -> [[f64; B]; A] {
    let length = b[0].len();
    let a = a.map(|a| a[..length].as_chunks::<LANES>());
    let b = b.map(|b| b[..length].as_chunks::<LANES>());
    let mut sums = [[[0.0; LANES]; B]; A];
    for k in 0..length / LANES {
        for (sums, a) in sums.iter_mut().zip(&a) {
            for (sum, b) in sums.iter_mut().zip(&b) {
                let (x, y): (Lanes, Lanes) = (a.0[k], b.0[k]);
                (0..LANES).for_each(|lane| sum[lane] += x[lane] * y[lane]);
            }
        }
    }
    let tail = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let [p, q, r, s] = sums[i][j];
            (p + q) + (r + s) + tail(a[i].1, b[j].1)
        })
    })
}

/// The dot products of each row with each vector.
fn products(rows: &[&mut [f64]], v: &[&[f64]], along: &mut [[f64; BLOCK]; ROWS]) {
    match rows {
        [a, b, c, d] => {
            let rows: [&[f64]; ROWS] = [a, b, c, d];
            let pairs = v.as_chunks::<2>();
            for (j, pair) in pairs.0.iter().enumerate() {
                for (along, [first, second]) in along.iter_mut().zip(dots(rows, *pair)) {
                    (along[2 * j], along[2 * j + 1]) = (first, second);
                }
            }
            for (j, v) in pairs.1.iter().enumerate() {
                for (along, [sum]) in along.iter_mut().zip(dots(rows, [*v])) {
                    along[2 * pairs.0.len() + j] = sum;
                }
            }
        }
        _ => {
            for (row, along) in rows.iter().zip(along) {
                v.iter().zip(along).for_each(|(v, along)| *along = dot(row, v));
            }
        }
    }
}

/// Subtracts the vectors, weighted by `along`, from each row.
fn subtract(rows: &mut [&mut [f64]], v: &[&[f64]], along: &[[f64; BLOCK]; ROWS]) {
    let width = v[0].len();
    let whole = width - width % (2 * LANES);
    if rows.len() == ROWS {
        for at in (0..whole).step_by(2 * LANES) {
            let mut tile = [[0.0; 2 * LANES]; ROWS];
            tile.iter_mut().zip(&*rows).for_each(|(tile, row)| tile.copy_from_slice(&row[at..][..2 * LANES]));
            for (j, v) in v.iter().enumerate() {
                let v: [f64; 2 * LANES] = v[at..][..2 * LANES].try_into().expect("the length of a tile");
                for (tile, along) in tile.iter_mut().zip(along) {
                    (0..2 * LANES).for_each(|lane| tile[lane] -= along[j] * v[lane]);
                }
            }
            rows.iter_mut().zip(tile).for_each(|(row, tile)| row[at..][..2 * LANES].copy_from_slice(&tile));
        }
    }
    let from = if rows.len() == ROWS { whole } else { 0 };
    for (row, along) in rows.iter_mut().zip(along) {
        for (v, along) in v.iter().zip(along) {
            row[from..].iter_mut().zip(&v[from..]).for_each(|(x, v)| *x -= along * v);
        }
    }
}
