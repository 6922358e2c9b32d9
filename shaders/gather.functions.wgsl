// Copies the batch's rows out of the data set. An invocation copies four columns of one row, which is one word of
// bytes; rows that a partial batch lacks become zeros, so that the products that follow need not know of them.

struct GatherUniforms {
    columns: u32,
    quads: u32, // columns / 4, rounded up
    invocations: u32,
}

@group(0) @binding(0) var<storage, read> u: GatherUniforms;
@group(0) @binding(1) var<storage, read> features: array<u32>;
@group(0) @binding(2) var<storage, read> data: DataInfo;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read> indices: array<u32>;
const LANES: u32 = 64u;
const SCALE: f32 = 1.0 / 255.0;

// Where a row of the batch begins in the data set.
fn first_of(row: u32) -> u32 {
    return data.first_feature + indices[row] * data.feature_stride;
}

// Four columns of a row of the batch, or as many as `count` says.
fn fetch(row: u32, quad: u32, count: u32) -> vec4f {
    if row >= state.rows {
        return vec4f(0.0);
    }
    if data.bytes != 0u {
        let word = features[first_of(row) + quad];
        return vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u)) * SCALE;
    }
    let start = first_of(row) + quad * 4u;
    let at = start + min(vec4u(0u, 1u, 2u, 3u), vec4u(count - 1u));
    return bitcast<vec4f>(vec4u(features[at.x], features[at.y], features[at.z], features[at.w]));
}
