// scale * x + offset.

fn feature(x: f32, k: u32) -> f32 {
    return u.scale * x + u.offset;
}

fn slope(x: f32, k: u32) -> f32 {
    return u.scale;
}
