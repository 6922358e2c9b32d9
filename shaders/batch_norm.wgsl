// Batch normalisation (Ioffe and Szegedy, 2015) with a mean and a variance of each channel that are given:
// y = (x - mean) / sqrt(variance + epsilon) * scale + shift. An invocation has rows of one channel.

struct BatchNormUniforms {
    rows: u32,
    columns: u32, // channels
    stride: u32,  // from the means to the variances
    lanes: u32,   // invocations of a channel
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> u: BatchNormUniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> shift: array<f32>;
@group(0) @binding(4) var<storage, read> statistics: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if i >= u.lanes * u.columns {
        return;
    }
    let column = i % u.columns;
    let mean = statistics[column];
    let inverse = 1.0 / sqrt(statistics[u.stride + column] + u.epsilon);
    let scale = scale[column];
    let shift = shift[column];
    for (var row = i / u.columns; row < u.rows; row += u.lanes) {
        let at = row * u.columns + column;
        y[at] = (x[at] - mean) * inverse * scale + shift;
    }
}
