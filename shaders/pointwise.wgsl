// Number by number: an activation, or times an activation's derivative; then dropout's mask. Follows an activation.

struct PointwiseUniforms {
    quads: u32, // numbers / 4, rounded up: buffers are whole vec4s long
    dropout_key: u32,
    dropout_threshold: u32, // hashes below it are dropped
    dropout_scale: f32,     // 1 / (1 - rate)
}

@group(0) @binding(0) var<storage, read> u: PointwiseUniforms;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read> saved: array<vec4f>;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read> data: DataInfo;
@group(0) @binding(5) var<storage, read_write> output: array<vec4f>;

override DERIVATIVE: bool = false;
override DROPOUT: bool = false;

const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if i >= u.quads {
        return;
    }
    var value = input[i];
    if DERIVATIVE {
        value *= derivative(saved[i]);
    } else {
        value = activate(value);
    }
    if DROPOUT {
        let hash = pcg4d(vec4u(i, state.step, data.seed_low ^ u.dropout_key, data.seed_high));
        value = select(vec4f(0.0), value * u.dropout_scale, hash >= vec4u(u.dropout_threshold));
    }
    output[i] = value;
}
