// C = op(A) · op(B) over k in [k_start, k_end), row-major f32, with a fused epilogue.
// A is [m, k], or [k, m] when TRANSPOSE_A; B is [k, n], or [n, k] when TRANSPOSE_B; C is [m, n].
// A slice of k that does not start at 0 adds to what C holds; only the last slice runs the epilogue.
// The host keeps m, n, k > 0; k_start a multiple of 4; k_end - k_start within 32,768, see main().

struct MatmulUniforms {
    m: u32,
    n: u32,
    k: u32,
    k_start: u32,
    k_end: u32,
    tiles_n: u32, // tiles across n: tile index -> (tile / tiles_n, tile % tiles_n)
    tiles: u32,   // number of tiles; the grid may be larger, as it is folded into two dimensions
}

@group(0) @binding(0) var<storage, read> u: MatmulUniforms;
// EPILOGUE 1: the bias [n]. EPILOGUE 2: what the activation returned in the forward pass [m, n].
@group(0) @binding(3) var<storage, read> aux: array<f32>;
// Column sums of op(B) [n], where BIAS_GRADIENT is set.
@group(0) @binding(5) var<storage, read_write> bias_gradient: array<f32>;

override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override A_ALIGNED: bool = true; // rows of A as stored are a multiple of 4 long
override B_ALIGNED: bool = true;
override EPILOGUE: u32 = 0;   // 0 none, 1 activation(C + bias), 2 C * activation'(aux)
override ACTIVATION: u32 = 0; // 0 identity, 1 relu, 2 sigmoid, 3 tanh
override BIAS_GRADIENT: bool = false;

// NaN by its bits, as compilers may take z == z for granted.
fn is_nan(z: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(z) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}

// Every activation keeps NaN, so that a diverged network shows. tanh saturates long before |z| = 15; some drivers return
// NaN for large arguments, hence the clamp, which on its own would lose a NaN.
fn activate(z: vec4f) -> vec4f {
    switch ACTIVATION {
        case 1u: { return select(z, vec4f(0.0), z < vec4f(0.0)); } // unlike max, keeps NaN
        case 2u: { return 1.0 / (1.0 + exp(-z)); }
        case 3u: { return select(tanh(clamp(z, vec4f(-15.0), vec4f(15.0))), z, is_nan(z)); }
        default: { return z; }
    }
}

// The derivative, from the activation's own output y.
fn derivative(y: vec4f) -> vec4f {
    switch ACTIVATION {
        case 1u: { return select(vec4f(0.0), vec4f(1.0), y > vec4f(0.0)); }
        case 2u: { return y * (1.0 - y); }
        case 3u: { return 1.0 - y * y; }
        default: { return vec4f(1.0); }
    }
}

fn read_aux(at: vec4u) -> vec4f {
    return vec4f(aux[at.x], aux[at.y], aux[at.z], aux[at.w]);
}

//// The kernel. matmul.subgroup.wgsl.in is another one for the declarations above.

@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

// Four consecutive elements of A as stored, from `index` on. Past the `last` element the result is
// arbitrary, but nothing is read there.
fn load_a(index: u32, last: u32) -> vec4f {
    if A_ALIGNED {
        return a[min(index, last) >> 2u];
    }
    let i = min(index + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    let word = i >> vec4u(2u);
    let lane = i & vec4u(3u);
    return vec4f(a[word.x][lane.x], a[word.y][lane.y], a[word.z][lane.z], a[word.w][lane.w]);
}

fn load_b(index: u32, last: u32) -> vec4f {
    if B_ALIGNED {
        return b[min(index, last) >> 2u];
    }
    let i = min(index + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    let word = i >> vec4u(2u);
    let lane = i & vec4u(3u);
    return vec4f(b[word.x][lane.x], b[word.y][lane.y], b[word.z][lane.z], b[word.w][lane.w]);
}

fn read_c(at: vec4u) -> vec4f {
    return vec4f(c[at.x], c[at.y], c[at.z], c[at.w]);
}

// Up to four outputs of one row; `count` columns of C are left from `at` on.
fn store_c(at: u32, count: u32, value: vec4f) {
    c[at] = value.x;
    if count > 3u {
        c[at + 1u] = value.y;
        c[at + 2u] = value.z;
        c[at + 3u] = value.w;
    } else {
        if count > 1u { c[at + 1u] = value.y; }
        if count > 2u { c[at + 2u] = value.z; }
    }
}

const TILE: u32 = 32u;   // rows and columns of C per workgroup
const TILE_K: u32 = 16u; // steps of k in workgroup memory at a time

// For each k of the tile, eight groups of four rows of op(A), and of four columns of op(B), at slot().
var<workgroup> tile_a: array<vec4f, 128>;
var<workgroup> tile_b: array<vec4f, 128>;

// Neighbours in a transposed load differ in k: the exclusive or spreads what they write over all banks.
fn slot(k: u32, group: u32, transposed: bool) -> u32 {
    return k * 8u + (group ^ select(0u, (k >> 2u) * 2u, transposed));
}

// A 4x4 block of A or B as stored, in rows `stride` elements apart.
fn load_block(from_b: bool, index: u32, stride: u32, last: u32) -> mat4x4f {
    if from_b {
        return mat4x4f(load_b(index, last), load_b(index + stride, last),
                       load_b(index + 2u * stride, last), load_b(index + 3u * stride, last));
    }
    return mat4x4f(load_a(index, last), load_a(index + stride, last),
                   load_a(index + 2u * stride, last), load_a(index + 3u * stride, last));
}

// The block with one vector for each k. Those from `valid` on are past k_end: zero, and in both operands,
// as zero times whatever lies there could be NaN.
fn orient(stored: mat4x4f, transposed: bool, partial: bool, valid: u32) -> mat4x4f {
    var block = stored;
    if transposed {
        block = transpose(stored);
    }
    if partial {
        let zero = vec4f(0.0);
        block = mat4x4f(select(zero, block[0], valid > 0u), select(zero, block[1], valid > 1u),
                        select(zero, block[2], valid > 2u), select(zero, block[3], valid > 3u));
    }
    return block;
}

// 8x8 invocations, each with 4x4 outputs: row i of them in sum_i, named because a compiler may move an
// indexed array to memory. Some drivers stop looping, silently, after 65,535 iterations per invocation:
// here that is 17 for 16 steps of k, or one where the compiler unrolls the inner loop.
@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_id) local: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let tile = workgroup.y * grid.x + workgroup.x;
    if tile >= u.tiles {
        return;
    }
    let first_row = tile / u.tiles_n * TILE;
    let first_column = tile % u.tiles_n * TILE;
    let k_end = u.k_end;

    // Half of the invocations load A and half B, one 4x4 block each: of the rows or columns `across`, from
    // block_k on. Neighbours read along the rows as stored, which run along k where a transposition is due.
    let from_b = local_index >= 32u;
    let transposed = select(!TRANSPOSE_A, TRANSPOSE_B, from_b);
    let lane = local_index & 31u;
    let group = select(lane & 7u, lane >> 2u, transposed);
    let block_k = select(lane >> 3u, lane & 3u, transposed) * 4u;
    let block_slot = slot(block_k, group, transposed);
    let size = select(u.m, u.n, from_b);
    let across = select(first_row, first_column, from_b) + group * 4u;
    let stride = select(size, u.k, transposed);
    let step = select(size, 1u, transposed) * TILE_K;
    let last = size * u.k - 1u;
    let first_k = u.k_start + block_k;
    var index = select(first_k * stride + across, across * stride + first_k, transposed);

    var loaded = load_block(from_b, index, stride, last);
    var column_sum = vec4f(0.0);
    var sum_0 = vec4f(0.0);
    var sum_1 = vec4f(0.0);
    var sum_2 = vec4f(0.0);
    var sum_3 = vec4f(0.0);
    for (var k = u.k_start; k < k_end; k += TILE_K) {
        let partial = k + TILE_K > k_end;
        let valid = k_end - min(k + block_k, k_end);
        workgroupBarrier(); // the tiles before have been read
        if from_b {
            let block = orient(loaded, TRANSPOSE_B, partial, valid);
            if BIAS_GRADIENT {
                column_sum += (block[0] + block[1]) + (block[2] + block[3]);
            }
            tile_b[block_slot] = block[0];
            tile_b[block_slot + 8u] = block[1];
            tile_b[block_slot + 16u] = block[2];
            tile_b[block_slot + 24u] = block[3];
        } else {
            let block = orient(loaded, !TRANSPOSE_A, partial, valid);
            tile_a[block_slot] = block[0];
            tile_a[block_slot + 8u] = block[1];
            tile_a[block_slot + 16u] = block[2];
            tile_a[block_slot + 24u] = block[3];
        }
        workgroupBarrier();

        // The next blocks travel while these tiles are multiplied. The last step loads too, all invocations
        // one element: under a condition, the compiler would wait for the loads before it multiplies.
        index = select(last, index + step, k + TILE_K < k_end);
        loaded = load_block(from_b, index, stride, last);

        // Likewise the next fragments are read before the present ones are multiplied.
        var next_a = tile_a[slot(0u, local.y, !TRANSPOSE_A)];
        var next_b = tile_b[slot(0u, local.x, TRANSPOSE_B)];
        for (var i = 1u; i <= TILE_K; i++) {
            let fragment_a = next_a;
            let fragment_b = next_b;
            next_a = tile_a[slot(i % TILE_K, local.y, !TRANSPOSE_A)];
            next_b = tile_b[slot(i % TILE_K, local.x, TRANSPOSE_B)];
            sum_0 = fma(vec4f(fragment_a.x), fragment_b, sum_0);
            sum_1 = fma(vec4f(fragment_a.y), fragment_b, sum_1);
            sum_2 = fma(vec4f(fragment_a.z), fragment_b, sum_2);
            sum_3 = fma(vec4f(fragment_a.w), fragment_b, sum_3);
        }
    }

    // Four invocations hold the sums over their own k of each column.
    if BIAS_GRADIENT && first_row == 0u {
        workgroupBarrier();
        if from_b {
            tile_b[block_k * 2u + group] = column_sum;
        }
        workgroupBarrier();
        let column = first_column + local_index;
        if local_index < TILE && column < u.n {
            let i = local_index >> 2u;
            let total = (tile_b[i] + tile_b[i + 8u]) + (tile_b[i + 16u] + tile_b[i + 24u]);
            var before = 0.0;
            if u.k_start > 0u {
                before = bias_gradient[column];
            }
            bias_gradient[column] = before + total[local_index & 3u];
        }
    }

    let row = first_row + local.y * 4u;
    let column = first_column + local.x * 4u;
    if row >= u.m || column >= u.n {
        return;
    }
    // Reads past the edge of C go to its last row or column instead; nothing is written for them.
    let starts = min(row + vec4u(0u, 1u, 2u, 3u), vec4u(u.m - 1u)) * u.n;
    let columns = min(column + vec4u(0u, 1u, 2u, 3u), vec4u(u.n - 1u));
    if u.k_start > 0u {
        sum_0 += read_c(starts.x + columns);
        sum_1 += read_c(starts.y + columns);
        sum_2 += read_c(starts.z + columns);
        sum_3 += read_c(starts.w + columns);
    }
    if EPILOGUE == 1u && k_end == u.k {
        let bias = read_aux(columns);
        sum_0 = activate(sum_0 + bias);
        sum_1 = activate(sum_1 + bias);
        sum_2 = activate(sum_2 + bias);
        sum_3 = activate(sum_3 + bias);
    }
    if EPILOGUE == 2u && k_end == u.k {
        sum_0 *= derivative(read_aux(starts.x + columns));
        sum_1 *= derivative(read_aux(starts.y + columns));
        sum_2 *= derivative(read_aux(starts.z + columns));
        sum_3 *= derivative(read_aux(starts.w + columns));
    }
    let count = u.n - column;
    store_c(starts.x + column, count, sum_0);
    if row + 1u < u.m { store_c(starts.y + column, count, sum_1); }
    if row + 2u < u.m { store_c(starts.z + column, count, sum_2); }
    if row + 3u < u.m { store_c(starts.w + column, count, sum_3); }
}
