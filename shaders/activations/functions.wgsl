// Common functions of the activations, for four elements at a time. All activations keep NaN, so divergence is visible.

// Beyond this limit a gate such as sigmoid is 0 or 1. The limit prevents infinity * 0, which is NaN.
const FAR: vec4f = vec4f(100.0);

// max(z, floor) that keeps NaN; the built-in functions max and clamp may lose it.
fn at_least(z: vec4f, floor: f32) -> vec4f {
    return select(z, vec4f(floor), z < vec4f(floor));
}

// Clamps z to -FAR..FAR and keeps NaN.
fn within_far(z: vec4f) -> vec4f {
    return at_least(select(z, FAR, z > FAR), -FAR.x);
}

// e^-|z| does not overflow. Above 0 the result is 1 - tail, because 1 / (1 + e) would be rounded twice.
fn sigmoid(z: vec4f) -> vec4f {
    let e = exp(-abs(z));
    let tail = e / (1.0 + e);
    return select(tail, 1.0 - tail, z > vec4f(0.0));
}

// The derivative of sigmoid, without the cancellation of 1 - sigmoid.
fn sigmoid_slope(z: vec4f) -> vec4f {
    return sigmoid(z) * sigmoid(-z);
}

// 1 - 2 sigmoid(z), an odd function.
fn sigmoid_odd(z: vec4f) -> vec4f {
    return sigmoid(-z) - sigmoid(z);
}

// a * sigmoid(z). For very negative z, sigmoid(z) may be flushed to 0 although the product is a normal number.
// Therefore sigmoid(z) is computed as two factors, and a is multiplied by one after the other.
fn times_sigmoid(a: vec4f, z: vec4f) -> vec4f {
    let root = exp(-0.5 * abs(z));
    let rest = root / (1.0 + root * root);
    return select(a * root * rest, a * (1.0 - root * rest), z > vec4f(0.0));
}

// ln(1 + e) for 0 <= e <= 1. It is 2 artanh(s) with s = e / (2 + e) <= 1/3, computed by the Taylor series of artanh.
fn log_1_plus(e: vec4f) -> vec4f {
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
    return 2.0 * s * series;
}

// ln(1 + e^z) = max(z, 0) + ln(1 + e) with e = e^-|z|.
fn softplus(z: vec4f) -> vec4f {
    return at_least(z, 0.0) + log_1_plus(exp(-abs(z)));
}

// e^z - 1 for z <= 0. Near 0 it uses nine terms of the Taylor series to avoid cancellation.
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
