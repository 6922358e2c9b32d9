// sin(2^j pi x) and cos(2^j pi x), j = k / 2.

const PI: f32 = 3.1415927;

// sin(pi t) for |t| <= 1/2, by its series: WGSL's own may be off by 2^-11.
fn sine(t: f32) -> f32 {
    let z = PI * t;
    let q = z * z;
    var s = 1.0 - q * (1.0 / 156.0);
    s = 1.0 - q * (1.0 / 110.0) * s;
    s = 1.0 - q * (1.0 / 72.0) * s;
    s = 1.0 - q * (1.0 / 42.0) * s;
    s = 1.0 - q * (1.0 / 20.0) * s;
    s = 1.0 - q * (1.0 / 6.0) * s;
    return z * s;
}

// sin(pi t) and cos(pi t) for |t| <= 1.
fn sine_of_turn(t: f32) -> f32 {
    return sine(select(t, select(-1.0, 1.0, t > 0.0) - t, abs(t) > 0.5));
}

fn cosine_of_turn(t: f32) -> f32 {
    return sine(0.5 - abs(t));
}

fn feature(x: f32, k: u32) -> f32 {
    let t = turned(x * two_to(k / 2u));
    return select(cosine_of_turn(t), sine_of_turn(t), k % 2u == 0u);
}

fn slope(x: f32, k: u32) -> f32 {
    let frequency = two_to(k / 2u);
    let t = turned(x * frequency);
    return PI * frequency * select(-sine_of_turn(t), cosine_of_turn(t), k % 2u == 0u);
}
