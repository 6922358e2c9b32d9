// Copies rows of 32-bit words from one buffer to another. Each side has its own first word and its own row stride.
// Words between rows are not changed. Grid: one invocation for each word.

struct CopyRowsUniforms {
    columns: u32,
    words: u32, // rows x columns
    input_first: u32,
    input_stride: u32,
    output_first: u32,
    output_stride: u32,
}

@group(0) @binding(0) var<storage, read> u: CopyRowsUniforms;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let id = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if id >= u.words {
        return;
    }
    let row = id / u.columns;
    let column = id % u.columns;
    output[u.output_first + row * u.output_stride + column] = input[u.input_first + row * u.input_stride + column];
}
