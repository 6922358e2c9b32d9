// Copies the batch's rows out of the data set. An invocation copies four columns of one row, which is one word of
// bytes; rows that a partial batch lacks become zeros, so that the products that follow need not know of them.

struct GatherUniforms {
    columns: u32,
    quads: u32, // columns / 4, rounded up; also a row's words in a data set of bytes
    invocations: u32,
}

struct DataInfo {
    rows: u32,
    shuffle: u32,
    seed_low: u32,
    seed_high: u32,
    bytes: u32,
    values: u32,
    weighted: u32,
}

struct StepState {
    step: u32,
    rows: u32,
    epoch: u32,
    position: u32,
    update: u32,
    batches: u32,
    update_rows: u32,
    due: u32,
    learning_rate: f32,
    rate_scale: f32,
}

@group(0) @binding(0) var<storage, read> u: GatherUniforms;
@group(0) @binding(1) var<storage, read> features: array<u32>;
@group(0) @binding(2) var<storage, read> data: DataInfo;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read> indices: array<u32>;
@group(0) @binding(5) var<storage, read_write> x: array<f32>;

const LANES: u32 = 64u;
const SCALE: f32 = 1.0 / 255.0;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let id = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if id >= u.invocations {
        return;
    }
    let row = id / u.quads;
    let quad = id % u.quads;
    let column = quad * 4u;
    let count = min(u.columns - column, 4u);
    var value = vec4f(0.0);
    if row < state.rows {
        if data.bytes != 0u {
            let word = features[indices[row] * u.quads + quad];
            value = vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u)) * SCALE;
        } else {
            let start = indices[row] * u.columns + column;
            value.x = bitcast<f32>(features[start]);
            if count > 1u { value.y = bitcast<f32>(features[start + 1u]); }
            if count > 2u { value.z = bitcast<f32>(features[start + 2u]); }
            if count > 3u { value.w = bitcast<f32>(features[start + 3u]); }
        }
    }
    let start = row * u.columns + column;
    x[start] = value.x;
    if count > 1u { x[start + 1u] = value.y; }
    if count > 2u { x[start + 2u] = value.z; }
    if count > 3u { x[start + 3u] = value.w; }
}
