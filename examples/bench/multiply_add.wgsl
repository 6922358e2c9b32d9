// Multiply-adds in registers only: x = x · a + b, in twelve independent chains. With a = b = 1/2, each x converges to
// 1.

@group(0) @binding(0) var<storage, read> ab: vec2f;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

// Whether a multiply-add is written as fma, or as a multiplication and an addition. The driver decides which is
// faster.
override FUSED: bool = true;
override ROUNDS: u32 = 16;

fn step(x: vec4f, a: vec4f, b: vec4f) -> vec4f {
    if FUSED {
        return fma(x, a, b);
    }
    return x * a + b;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let a = vec4f(ab.x);
    let b = vec4f(ab.y);
    var x = vec4f(f32(id.x % 7u));
    var y = x + 1.0;
    var z = x + 2.0;
    // The host repeats this line in the source (unrolling), so that the loop itself takes little time.
    for (var round = 0u; round < ROUNDS; round++) {
        x = step(x, a, b); y = step(y, a, b); z = step(z, a, b);
    }
    sums[id.x] = dot(x + y + z, vec4f(1.0));
}
