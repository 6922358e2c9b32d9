// The triangle wave of 2^k x.

fn feature(x: f32, k: u32) -> f32 {
    let t = turned(x * two_to(k));
    return 2.0 * select(t, select(-1.0, 1.0, t > 0.0) - t, abs(t) > 0.5);
}

fn slope(x: f32, k: u32) -> f32 {
    let frequency = two_to(k);
    return 2.0 * frequency * select(1.0, -1.0, abs(turned(x * frequency)) > 0.5);
}
