// What encodings of coordinates share. Each has `feature`, number k of what it makes of a coordinate, and `slope`, its
// derivative.

fn two_to(k: u32) -> f32 {
    return bitcast<f32>((127u + k) << 23u);
}

// x with whole turns of 2 taken away: -1 to 1, exactly.
fn turned(x: f32) -> f32 {
    return x - 2.0 * round(x * 0.5);
}
