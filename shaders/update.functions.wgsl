// An optimizer's step, for updates and for products whose sums are gradients: formulas and sources are in src/optimizer.rs.

struct UpdateUniforms {
    quads: u32, // parameters / 4
}

@group(0) @binding(3) var<storage, read> state: StepState;
// For every 64 parameters, what their learning rate and their weight decay are multiplied by.
@group(0) @binding(6) var<storage, read> multipliers: array<vec2f>;

override OPTIMIZER: u32 = 3; // 0 SGD, 1 RMSProp, 2 Adagrad, 3 Adam, 4 Lion
override MOMENTS: u32 = 2;   // numbers kept for each parameter
override NESTEROV: bool = false;
override DECAY: u32 = 0; // 0 none, 1 added to the gradient, 2 decoupled from it
override MULTIPLIERS: bool = false;
override SCALE: bool = false; // all gradients have one factor
override CLIP: bool = false;
override ACCUMULATES: bool = false; // acts at the last batch of an update only; in a chain, once its gradients are there

// Hyperparameters: constants, as each read of memory counts here.
override MOMENTUM: f32 = 0.0;
override ONE_MINUS_DAMPENING: f32 = 1.0;
override BETA1: f32 = 0.9;
override BETA2: f32 = 0.999; // RMSProp: alpha
override ONE_MINUS_BETA1: f32 = 0.1; // from the host
override ONE_MINUS_BETA2: f32 = 0.001;
override LOG_BETA1: f32 = -0.105360515;
override LOG_BETA2: f32 = -0.001000500;
override EPSILON: f32 = 1e-8;
override RATE_DECAY: f32 = 0.0;
override INITIAL_ACCUMULATOR: f32 = 0.0;
override WEIGHT_DECAY: f32 = 0.0;
override LIMIT: f32 = 0.0; // of each gradient, with CLIP

// Where the first moment of parameter or vector `at` is, of which 64 parameters make `block`; a second one is `block` further.
fn moments_of(at: u32, block: u32) -> u32 {
    return at + select(0u, at & ~(block - 1u), MOMENTS > 1u);
}

// What an update takes of the state: the same for all parameters, so kernels ask once.
struct Cursor {
    learning_rate: f32,
    update: u32,
    correction1: f32, // of Adam, 1 - beta1^update
    correction2: f32, // and 1 - beta2^update
}

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

fn now() -> Cursor {
    var cursor = Cursor(state.learning_rate, state.update, 1.0, 1.0);
    if OPTIMIZER == 3u {
        let t = f32(cursor.update);
        cursor.correction1 = one_minus_exp(t * LOG_BETA1);
        cursor.correction2 = one_minus_exp(t * LOG_BETA2);
    }
    return cursor;
}

// Whether x is beyond the limit or NaN. By its bits: compilers may assume that neither infinities nor NaN exist.
fn beyond(x: vec4f, limit: f32) -> vec4<bool> {
    return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(bitcast<u32>(limit));
}

// NaN, for any x.
fn lost(x: vec4f) -> vec4f {
    return bitcast<vec4f>(bitcast<vec4u>(x) | vec4u(0x7fc00000u));
}

// sqrt(squares) + epsilon. Where squares have overflowed it is NaN: infinity would make every later step 0.
fn divisor(squares: vec4f) -> vec4f {
    let d = sqrt(squares) + EPSILON;
    return select(d, lost(d), beyond(d, 1.8e19));
}

// Gradients times the factor of a clipped norm; a negative one is -factor * 2^96, of norms near the end of f32's range.
fn clipped(gradient: vec4f, factor: f32) -> vec4f {
    if factor < 0.0 {
        // 2^-96 by its exponent, as compilers may merge two factors into one that underflows.
        let bits = bitcast<vec4u>(gradient);
        let large = (bits & vec4u(0x7fffffffu)) > vec4u(97u << 23u);
        let small = bitcast<vec4f>(select(vec4u(0u), bits - vec4u(96u << 23u), large));
        return select(small, gradient, beyond(gradient, 3.4028234e38)) * -factor;
    }
    return gradient * factor;
}

// The parameters of `quad` after an update, and their moments. `block` numbers every 64 parameters. Weights that leave f32's
// range become NaN: infinite ones would stay as they are, and behind a relu the loss would not show them.
fn updated(before: Quad, gradient: vec4f, at: Cursor, block: u32) -> Quad {
    let after = stepped(before, gradient, at, block);
    let w = after.parameters;
    return Quad(select(w, lost(w), beyond(w, 3.4e38)), after.moment1, after.moment2);
}

fn stepped(before: Quad, gradient: vec4f, at: Cursor, block: u32) -> Quad {
    var rate = at.learning_rate;
    var decay = WEIGHT_DECAY;
    if MULTIPLIERS {
        rate *= multipliers[block].x;
        decay *= multipliers[block].y;
    }
    var g = gradient;
    var w = before.parameters;
    if CLIP {
        g = select(clamp(g, vec4f(-LIMIT), vec4f(LIMIT)), g, (bitcast<vec4u>(g) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
    }
    if DECAY == 1u {
        g += decay * w;
    }
    if DECAY == 2u {
        w -= rate * decay * w;
    }
    var m = before.moment1;
    var v = before.moment2;
    let first = at.update == 1u;
    switch OPTIMIZER {
        case 0u: {
            if MOMENTS == 0u {
                return Quad(w - rate * g, m, v);
            }
            m = select(MOMENTUM * m + ONE_MINUS_DAMPENING * g, g, first);
            if NESTEROV {
                return Quad(w - rate * (g + MOMENTUM * m), m, v);
            }
            return Quad(w - rate * m, m, v);
        }
        case 1u: {
            m = BETA2 * m + ONE_MINUS_BETA2 * g * g;
            let direction = g / divisor(m);
            if MOMENTS == 1u {
                return Quad(w - rate * direction, m, v);
            }
            v = MOMENTUM * v + direction;
            return Quad(w - rate * v, m, v);
        }
        case 2u: {
            m = select(m, vec4f(INITIAL_ACCUMULATOR), first) + g * g;
            rate /= 1.0 + f32(at.update - 1u) * RATE_DECAY;
            return Quad(w - rate * g / divisor(m), m, v);
        }
        case 4u: {
            let direction = BETA1 * m + ONE_MINUS_BETA1 * g;
            m = BETA2 * m + ONE_MINUS_BETA2 * g;
            // The sign of NaN is whatever a driver makes of it, and that of an infinite mean never changes.
            return Quad(select(w - rate * sign(direction), lost(m), beyond(m, 3.4e38)), m, v);
        }
        default: {
            m = BETA1 * m + ONE_MINUS_BETA1 * g;
            v = BETA2 * v + ONE_MINUS_BETA2 * g * g;
            return Quad(w - rate / at.correction1 * m / divisor(v / at.correction2), m, v);
        }
    }
}

// Whether this batch is none that the step is due after.
fn waits() -> bool {
    return ACCUMULATES && (state.due == 0u || (state.chain != 0u && (state.chain != state.gradients_of || state.passes > 1u)));
}
