// Encodings of coordinates one by one, each into `outputs` features; or their gradient.

struct EncodeUniforms {
    numbers: u32, // to be written
    outputs: u32, // features of a coordinate
    scale: f32,
    offset: f32,
}

@group(0) @binding(0) var<storage, read> u: EncodeUniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

override ENCODING: u32 = 0; // 0 identity, 1 frequency, 2 triangle wave, 3 one blob
override GRADIENT: bool = false;

const LANES: u32 = 64u;
const PI: f32 = 3.1415927;

fn two_to(k: u32) -> f32 {
    return bitcast<f32>((127u + k) << 23u);
}

// x with whole turns of 2 taken away: -1 to 1, exactly.
fn turned(x: f32) -> f32 {
    return x - 2.0 * round(x * 0.5);
}

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

// Feature k of a coordinate.
fn feature(x: f32, k: u32) -> f32 {
    switch ENCODING {
        case 1u: {
            let t = turned(x * two_to(k / 2u));
            return select(cosine_of_turn(t), sine_of_turn(t), k % 2u == 0u);
        }
        case 2u: {
            let t = turned(x * two_to(k));
            return 2.0 * select(t, select(-1.0, 1.0, t > 0.0) - t, abs(t) > 0.5);
        }
        case 3u: {
            // The bin's edges as seen from the blob's middle.
            let left = f32(k) - x * f32(u.outputs);
            return blob_below(left + 1.0) - blob_below(left);
        }
        default: { return u.scale * x + u.offset; }
    }
}

// Its derivative.
fn slope(x: f32, k: u32) -> f32 {
    switch ENCODING {
        case 1u: {
            let frequency = two_to(k / 2u);
            let t = turned(x * frequency);
            return PI * frequency * select(-sine_of_turn(t), cosine_of_turn(t), k % 2u == 0u);
        }
        case 2u: {
            let frequency = two_to(k);
            return 2.0 * frequency * select(1.0, -1.0, abs(turned(x * frequency)) > 0.5);
        }
        case 3u: {
            let bins = f32(u.outputs);
            let left = f32(k) - x * bins;
            return bins * (blob(left) - blob(left + 1.0));
        }
        default: { return u.scale; }
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if i >= u.numbers {
        return;
    }
    if !GRADIENT {
        output[i] = feature(x[i / u.outputs], i % u.outputs);
        return;
    }
    let coordinate = x[i];
    var sum = 0.0;
    for (var k = 0u; k < u.outputs; k++) {
        sum += gradient[i * u.outputs + k] * slope(coordinate, k);
    }
    output[i] = sum;
}
