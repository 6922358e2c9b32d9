// Encodings of coordinates one by one, each into `outputs` features; or their gradient.
// Follows an encoding.

struct EncodeUniforms {
    numbers: u32, // to be written
    outputs: u32, // features of a coordinate
    scale: f32,
    offset: f32,
}

@group(0) @binding(0) var<storage, read> u: EncodeUniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

override GRADIENT: bool = false;

const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if i >= u.numbers {
        return;
    }
    if !GRADIENT {
        output[i] = feature(x[i / u.outputs], i % u.outputs);
        return;
    }
    let coordinate = x[i];
    var sum = 0.0;
    for (var k = 0u; k < u.outputs; k++) {
        sum += gradient[i * u.outputs + k] * slope(coordinate, k);
    }
    output[i] = sum;
}
