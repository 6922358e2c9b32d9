// gelu: z times the distribution function of the standard normal distribution.

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

fn activate(z: vec4f) -> vec4f {
    return at_least(z, -FAR.x) * normal_distribution(z);
}

fn derivative(input: vec4f) -> vec4f {
    let z = within_far(input);
    return normal_distribution(z) + z * 0.3989423 * exp(-0.5 * z * z);
}
