// An optimizer's step over the whole parameter buffer: formulas and sources are in src/optimizer.rs.

struct UpdateUniforms {
    quads: u32, // parameters / 4
    momentum: f32,
    one_minus_dampening: f32,
    beta1: f32,
    beta2: f32, // RMSProp: alpha
    one_minus_beta1: f32, // from the host, in f64: 1 - 0.999 in f32 is off by 1.3e-5
    one_minus_beta2: f32,
    log_beta1: f32,
    log_beta2: f32,
    epsilon: f32,
    rate_decay: f32,
    initial_accumulator: f32,
    weight_decay: f32,
    clip: f32,
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

@group(0) @binding(0) var<storage, read> u: UpdateUniforms;
@group(0) @binding(2) var<storage, read> state: StepState;
// For every 64 parameters, what their learning rate and their weight decay are multiplied by.
@group(0) @binding(6) var<storage, read> multipliers: array<vec2f>;
@group(0) @binding(7) var<storage, read> scale: array<f32>; // one factor for all gradients

override OPTIMIZER: u32 = 3; // 0 SGD, 1 RMSProp, 2 Adagrad, 3 Adam, 4 Lion
override MOMENTS: u32 = 2;   // numbers kept for each parameter
override NESTEROV: bool = false;
override DECAY: u32 = 0; // 0 none, 1 added to the gradient, 2 decoupled from it
override MULTIPLIERS: bool = false;
override SCALE: bool = false;
override CLIP: bool = false;
override ACCUMULATES: bool = false; // acts at the last batch of an update only

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
    var s = 1.0 + x / 9.0;
    s = 1.0 + x / 8.0 * s;
    s = 1.0 + x / 7.0 * s;
    s = 1.0 + x / 6.0 * s;
    s = 1.0 + x / 5.0 * s;
    s = 1.0 + x / 4.0 * s;
    s = 1.0 + x / 3.0 * s;
    s = 1.0 + x / 2.0 * s;
    return -x * s;
}

// The parameters of `quad` after an update, and their moments. `block` numbers every 64 parameters.
fn updated(before: Quad, gradient: vec4f, block: u32) -> Quad {
    var rate = state.learning_rate;
    var decay = u.weight_decay;
    if MULTIPLIERS {
        rate *= multipliers[block].x;
        decay *= multipliers[block].y;
    }
    var g = gradient;
    var w = before.parameters;
    if SCALE {
        g *= scale[0];
    }
    if CLIP {
        g = select(clamp(g, vec4f(-u.clip), vec4f(u.clip)), g, (bitcast<vec4u>(g) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
    }
    if DECAY == 1u {
        g += decay * w;
    }
    if DECAY == 2u {
        w -= rate * decay * w;
    }
    var m = before.moment1;
    var v = before.moment2;
    let first = state.update == 1u;
    switch OPTIMIZER {
        case 0u: {
            if MOMENTS == 0u {
                return Quad(w - rate * g, m, v);
            }
            m = select(u.momentum * m + u.one_minus_dampening * g, g, first);
            if NESTEROV {
                return Quad(w - rate * (g + u.momentum * m), m, v);
            }
            return Quad(w - rate * m, m, v);
        }
        case 1u: {
            m = u.beta2 * m + u.one_minus_beta2 * g * g;
            let direction = g / (sqrt(m) + u.epsilon);
            if MOMENTS == 1u {
                return Quad(w - rate * direction, m, v);
            }
            v = u.momentum * v + direction;
            return Quad(w - rate * v, m, v);
        }
        case 2u: {
            m = select(m, vec4f(u.initial_accumulator), first) + g * g;
            rate /= 1.0 + f32(state.update - 1u) * u.rate_decay;
            return Quad(w - rate * g / (sqrt(m) + u.epsilon), m, v);
        }
        case 4u: {
            let direction = u.beta1 * m + u.one_minus_beta1 * g;
            m = u.beta2 * m + u.one_minus_beta2 * g;
            return Quad(w - rate * sign(direction), m, v);
        }
        default: {
            let t = f32(state.update);
            let correction1 = one_minus_exp(t * u.log_beta1);
            let correction2 = one_minus_exp(t * u.log_beta2);
            m = u.beta1 * m + u.one_minus_beta1 * g;
            v = u.beta2 * v + u.one_minus_beta2 * g * g;
            return Quad(w - rate / correction1 * m / (sqrt(v / correction2) + u.epsilon), m, v);
        }
    }
}

//// The kernel. update.wide.wgsl.in is another one for the declarations above.

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
    if i >= u.quads || (ACCUMULATES && state.due == 0u) {
        return;
    }
    var quad = Quad(parameters[i], vec4f(0.0), vec4f(0.0));
    if MOMENTS > 0u { quad.moment1 = moment1[i]; }
    if MOMENTS > 1u { quad.moment2 = moment2[i]; }
    quad = updated(quad, gradients[i], i >> 4u);
    parameters[i] = quad.parameters;
    if MOMENTS > 0u { moment1[i] = quad.moment1; }
    if MOMENTS > 1u { moment2[i] = quad.moment2; }
}
