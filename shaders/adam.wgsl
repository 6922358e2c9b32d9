// Adam (Kingma and Ba, 2015, algorithm 1) over the whole parameter buffer.

struct AdamUniforms {
    quads: u32, // parameters / 4
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32, // from the host, in f64: 1 - 0.999 in f32 is off by 1.3e-5
    one_minus_beta2: f32,
    log_beta1: f32,
    log_beta2: f32,
    epsilon: f32,
}

struct StepState {
    step: u32,
    rows: u32,
    epoch: u32,
    position: u32,
}

@group(0) @binding(0) var<storage, read> u: AdamUniforms;
@group(0) @binding(2) var<storage, read> state: StepState;

const LANES: u32 = 64u;

// Four parameters with their moments.
struct Quad {
    parameters: vec4f,
    moment1: vec4f,
    moment2: vec4f,
}

// 1 - e^x for x <= 0, without the cancellation near 0: there, nine terms of the series, by Horner's rule.
fn one_minus_exp(x: f32) -> f32 {
    if x < -0.5 {
        return 1.0 - exp(x);
    }
    var s = 1.0;
    s = 1.0 + x / 9.0;
    s = 1.0 + x / 8.0 * s;
    s = 1.0 + x / 7.0 * s;
    s = 1.0 + x / 6.0 * s;
    s = 1.0 + x / 5.0 * s;
    s = 1.0 + x / 4.0 * s;
    s = 1.0 + x / 3.0 * s;
    s = 1.0 + x / 2.0 * s;
    return -x * s;
}

fn updated(before: Quad, gradient: vec4f) -> Quad {
    let step = f32(state.step);
    let correction1 = one_minus_exp(step * u.log_beta1);
    let correction2 = one_minus_exp(step * u.log_beta2);
    let m = u.beta1 * before.moment1 + u.one_minus_beta1 * gradient;
    let v = u.beta2 * before.moment2 + u.one_minus_beta2 * gradient * gradient;
    let update = u.learning_rate / correction1 * m / (sqrt(v / correction2) + u.epsilon);
    return Quad(before.parameters - update, m, v);
}

//// The kernel. adam.wide.wgsl.in is another one for the declarations above.

@group(0) @binding(1) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> parameters: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> moment1: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> moment2: array<vec4f>;

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
    let quad = updated(Quad(parameters[i], moment1[i], moment2[i]), gradients[i]);
    parameters[i] = quad.parameters;
    moment1[i] = quad.moment1;
    moment2[i] = quad.moment2;
}
