// What activations share, four numbers at a time. Every activation keeps NaN, so that a diverged network shows.

// Beyond these a gate is 0 or 1; infinities times 0 would be NaN.
const FAR: vec4f = vec4f(100.0);

// Not max(z, floor) or clamp, which lose NaN.
fn at_least(z: vec4f, floor: f32) -> vec4f {
    return select(z, vec4f(floor), z < vec4f(floor));
}

// z no farther out than there.
fn within_far(z: vec4f) -> vec4f {
    return at_least(select(z, FAR, z > FAR), -FAR.x);
}

// From e^-|z|, which does not overflow; near 1 as 1 - tail, since 1 / (1 + e) would be rounded twice.
fn sigmoid(z: vec4f) -> vec4f {
    let e = exp(-abs(z));
    let tail = e / (1.0 + e);
    return select(tail, 1.0 - tail, z > vec4f(0.0));
}

// a * sigmoid(z). Far left, sigmoid(z) is below the smallest normal number and may be flushed to 0, though the product
// is not. So sigmoid(z) is computed as two factors, and a is multiplied by the first before the second.
fn times_sigmoid(a: vec4f, z: vec4f) -> vec4f {
    let root = exp(-0.5 * abs(z));
    let rest = root / (1.0 + root * root);
    return select(a * root * rest, a * (1.0 - root * rest), z > vec4f(0.0));
}

// ln(1 + e^z) = max(z, 0) + ln(1 + e) with e = e^-|z|; ln(1 + e) = 2 artanh(s) with s = e / (2 + e) <= 1/3, by its
// series.
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
