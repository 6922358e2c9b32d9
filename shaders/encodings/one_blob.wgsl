// The share of bin k in a blob around x.

// The quartic kernel 15/16 (1 - t^2)^2, and its integral from -1 to t.
fn blob(t: f32) -> f32 {
    let rest = max(1.0 - t * t, 0.0);
    return 0.9375 * rest * rest;
}

fn blob_below(t: f32) -> f32 {
    let s = select(clamp(t, -1.0, 1.0), t, is_nan(t));
    let q = s * s;
    return 0.5 + s * (0.9375 - q * (0.625 - 0.1875 * q));
}

fn feature(x: f32, k: u32) -> f32 {
    // The bin's edges as seen from the blob's middle.
    let left = f32(k) - x * f32(u.outputs);
    return blob_below(left + 1.0) - blob_below(left);
}

fn slope(x: f32, k: u32) -> f32 {
    let bins = f32(u.outputs);
    let left = f32(k) - x * bins;
    return bins * (blob(left) - blob(left + 1.0));
}
