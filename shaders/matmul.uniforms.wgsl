// Common part of the matmul kernels: C = op(A) · op(B) in row-major f32, with a fused epilogue.
// A is [m, k], or [k, m] if TRANSPOSE_A. B is [k, n], or [n, k] if TRANSPOSE_B. C is [m, n].
// The host ensures m, n, k > 0. On software adapters an invocation sums at most 32,768 steps: see matmul.wgsl.in.

struct MatmulUniforms {
    m: u32,
    n: u32,
    k: u32,
    tiles_n: u32, // tiles across n; row of tiles = tile / tiles_n, column of tiles = tile % tiles_n
    tiles: u32,   // number of tiles; the folded grid may have more workgroups
    bias_at: u32, // update epilogue: offset of the biases, behind the weights
    transpose_b: u32, // same as TRANSPOSE_B, for pipelines that serve both passes
    epilogue: u32,    // same as EPILOGUE, for the same pipelines
    aux: u32,         // 1 if binding 3 has a tensor
    parts: u32,       // split-K: number of chunks of k
    part_steps: u32, // steps of k in a chunk
    block: u32, // matmul.wide: rows of tiles in a block
}

@group(0) @binding(0) var<storage, read> u: MatmulUniforms;

override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override A_ALIGNED: bool = true; // the row length of A as stored is a multiple of 4
override B_ALIGNED: bool = true;
override EPILOGUE: u32 = 0;   // 0 none, 1 activation(C + bias), 2 C * activation'(aux)
override BIAS: bool = true;
override BIAS_GRADIENT: bool = false; // also sum the columns of op(B)
