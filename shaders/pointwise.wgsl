// Number by number: an activation, or times an activation's derivative; then dropout's mask.
// What stands before the mark serves matmul and pointwise_loss too.

override ACTIVATION: u32 = 0; // in the order of the cases below
override PARAMETER: f32 = 0.0; // the slope or alpha of those that have one

// Beyond these a gate is 0 or 1; infinities times 0 would be NaN.
const FAR: vec4f = vec4f(100.0);

// Not max(z, floor) or clamp, which lose NaN.
fn at_least(z: vec4f, floor: f32) -> vec4f {
    return select(z, vec4f(floor), z < vec4f(floor));
}

// From e^-|z|, which does not overflow; near 1 as 1 - tail, since 1 / (1 + e) would be rounded twice.
fn sigmoid(z: vec4f) -> vec4f {
    let e = exp(-abs(z));
    let tail = e / (1.0 + e);
    return select(tail, 1.0 - tail, z > vec4f(0.0));
}

// a * sigmoid(z). Far left, sigmoid(z) is below the smallest normal number and may be flushed to 0, though the product is not.
// So sigmoid(z) is computed as two factors, and a is multiplied by the first before the second.
fn times_sigmoid(a: vec4f, z: vec4f) -> vec4f {
    let root = exp(-0.5 * abs(z));
    let rest = root / (1.0 + root * root);
    return select(a * root * rest, a * (1.0 - root * rest), z > vec4f(0.0));
}

// ln(1 + e^z) = max(z, 0) + ln(1 + e) with e = e^-|z|; ln(1 + e) = 2 artanh(s) with s = e / (2 + e) <= 1/3, by its series.
fn softplus(z: vec4f) -> vec4f {
    let e = exp(-abs(z));
    let s = e / (2.0 + e);
    let q = s * s;
    var series = vec4f(1.0 / 15.0);
    series = series * q + 1.0 / 13.0;
    series = series * q + 1.0 / 11.0;
    series = series * q + 1.0 / 9.0;
    series = series * q + 1.0 / 7.0;
    series = series * q + 1.0 / 5.0;
    series = series * q + 1.0 / 3.0;
    series = series * q + 1.0;
    return at_least(z, 0.0) + 2.0 * s * series;
}

// e^z - 1 for z <= 0, without the cancellation near 0: there, nine terms of the series.
fn exp_minus_1(z: vec4f) -> vec4f {
    var series = 1.0 + z / 9.0;
    series = 1.0 + z / 8.0 * series;
    series = 1.0 + z / 7.0 * series;
    series = 1.0 + z / 6.0 * series;
    series = 1.0 + z / 5.0 * series;
    series = 1.0 + z / 4.0 * series;
    series = 1.0 + z / 3.0 * series;
    series = 1.0 + z / 2.0 * series;
    return select(z * series, exp(z) - 1.0, z < vec4f(-0.5));
}

// The distribution function of the standard normal distribution. Below 0 it is erfc(x) / 2 with x = -z / sqrt(2), and
// erfc(x) = t e^(-x^2 + p(t)) with t = 2 / (2 + x) and a polynomial p fitted to within 2.1e-7 of erfc over 0 <= x <= 9.5,
// where erfc leaves the range of f32.
fn normal_distribution(z: vec4f) -> vec4f {
    let x = min(abs(z) * 0.70710678, vec4f(9.5));
    let t = 2.0 / (2.0 + x);
    var p = vec4f(0.14050713);
    p = p * t - 0.6566158;
    p = p * t + 1.0994384;
    p = p * t - 0.61952335;
    p = p * t - 0.14417352;
    p = p * t + 0.035467863;
    p = p * t + 0.022874143;
    p = p * t + 0.38911715;
    p = p * t + 0.99834144;
    p = p * t - 1.2654334;
    let tail = 0.5 * t * exp(p - x * x);
    return select(1.0 - tail, tail, z < vec4f(0.0));
}

// gelu's approximation is z * sigmoid(2 inner(z)).
fn gelu_inner(z: vec4f) -> vec4f {
    return 0.7978846 * (z + 0.044715 * z * z * z);
}

// Not the built-in function, of which some drivers make (e^2z - 1) / (e^2z + 1): that cancels near 0, to nothing at 3e-8, and
// is NaN where e^2z overflows.
fn hyperbolic_tangent(z: vec4f) -> vec4f {
    let e = exp_minus_1(-2.0 * abs(z));
    let y = -e / (2.0 + e);
    return select(y, -y, z < vec4f(0.0));
}

// Every activation keeps NaN, so that a diverged network shows.
fn activate(z: vec4f) -> vec4f {
    let zero = vec4f(0.0);
    let near = at_least(z, -FAR.x);
    switch ACTIVATION {
        case 1u: { return at_least(z, 0.0); } // relu
        case 2u: { return select(z, PARAMETER * z, z < zero); } // leaky relu
        case 3u: { return select(z, PARAMETER * exp_minus_1(min(z, zero)), z < zero); } // elu
        case 4u: { return 1.050701 * select(z, 1.6732632 * exp_minus_1(min(z, zero)), z < zero); } // selu
        case 5u: { return near * normal_distribution(z); } // gelu, by the error function
        case 6u: { return times_sigmoid(near, 2.0 * gelu_inner(clamp(z, -FAR, FAR))); } // gelu, by tanh
        case 7u: { return times_sigmoid(near, z); } // silu
        case 8u: { return softplus(z); }
        case 9u: { return sigmoid(z); }
        case 10u: { return hyperbolic_tangent(z); }
        case 11u: { // hard sigmoid
            let y = at_least(z / 6.0 + 0.5, 0.0);
            return select(y, vec4f(1.0), y > vec4f(1.0));
        }
        case 12u: { // hard swish
            let y = near * at_least(near / 6.0 + 0.5, 0.0);
            return select(y, z, z > vec4f(3.0));
        }
        default: { return z; }
    }
}

// The derivative, from the activation's output or, for those that need it, from its input.
fn derivative(saved: vec4f) -> vec4f {
    let zero = vec4f(0.0);
    let one = vec4f(1.0);
    let positive = saved > zero;
    let z = at_least(select(saved, FAR, saved > FAR), -FAR.x);
    switch ACTIVATION {
        case 1u: { return select(zero, one, positive); }
        case 2u: { return select(vec4f(PARAMETER), one, positive); }
        case 3u: { return select(saved + PARAMETER, one, positive); }
        case 4u: { return select(saved + 1.7580993, vec4f(1.050701), positive); }
        case 5u: { return normal_distribution(z) + z * 0.3989423 * exp(-0.5 * z * z); }
        case 6u: {
            let inner = 2.0 * gelu_inner(z);
            return times_sigmoid(1.0 + z * 2.0 * sigmoid(-inner) * 0.7978846 * (1.0 + 0.134145 * z * z), inner);
        }
        case 7u: {
            return times_sigmoid(1.0 + z * sigmoid(-z), z);
        }
        case 8u: { return sigmoid(z); }
        case 9u: { return saved * (1.0 - saved); }
        case 10u: { return 1.0 - saved * saved; }
        case 11u: { return select(zero, vec4f(1.0 / 6.0), positive & (saved < one)); }
        case 12u: { return select(select(z / 3.0 + 0.5, zero, z <= vec4f(-3.0)), one, z >= vec4f(3.0)); }
        default: { return one; }
    }
}

//// The kernel.

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
