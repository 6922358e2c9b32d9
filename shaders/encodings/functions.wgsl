// Common functions of the coordinate encodings. Each encoding defines `feature`, the k-th feature of a coordinate, and
// `slope`, the derivative of that feature.

fn power_of_two(k: u32) -> f32 {
    return bitcast<f32>((127u + k) << 23u);
}

// x modulo 2, in the range -1 to 1. The result is exact.
fn modulo_2(x: f32) -> f32 {
    return x - 2.0 * round(x * 0.5);
}
