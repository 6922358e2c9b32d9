// Updates for software adapters, eight parameters to an invocation. An access costs a loop over the lanes there, whatever
// its width: so in vectors of 64-bit words, two numbers each, half as many do. Native only; browsers have no u64.

@group(0) @binding(0) var<storage, read> u: UpdateUniforms;
@group(0) @binding(1) var<storage, read> gradients: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;

const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if i >= u.quads / 2u || waits() {
        return;
    }
    let g = gradients[i];
    var evens = even(g);
    var odds = odd(g);
    if SCALE {
        let factor = scale[0];
        evens = clipped(evens, factor);
        odds = clipped(odds, factor);
    }
    apply(i, fetch(i), evens, odds, now());
}
