// C = op(A) · op(B), row-major f32, with a fused epilogue: what all its kernels share.
// A is [m, k], or [k, m] when TRANSPOSE_A; B is [k, n], or [n, k] when TRANSPOSE_B; C is [m, n].
// The host keeps m, n, k > 0 and, on software adapters, what an invocation sums within 32,768, see matmul.wgsl.in.

struct MatmulUniforms {
    m: u32,
    n: u32,
    k: u32,
    tiles_n: u32, // tiles across n: tile index -> (tile / tiles_n, tile % tiles_n)
    tiles: u32,   // number of tiles; the grid may be larger, as it is folded into two dimensions
    bias_at: u32, // where the biases lie behind the weights, where the sums are gradients
    transpose_b: u32, // the constants of these names, for kernels whose pipelines serve both passes
    epilogue: u32,
    aux: u32,         // whether there is one
    parts: u32,       // into how many k is cut that workgroups sum side by side, and how many steps each has
    part_steps: u32,
    block: u32, // rows of tiles that the wide kernel goes through together
}

@group(0) @binding(0) var<storage, read> u: MatmulUniforms;

override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override A_ALIGNED: bool = true; // rows of A as stored are a multiple of 4 long
override B_ALIGNED: bool = true;
override EPILOGUE: u32 = 0;   // 0 none, 1 activation(C + bias), 2 C * activation'(aux)
override BIAS: bool = true;
override BIAS_GRADIENT: bool = false; // the column sums of op(B), too
