// For software adapters and rows whose length is a multiple of 8. An access to memory is a loop over the lanes there, one to the
// uniforms too: an invocation copies eight times eight columns of a row. Native only; browsers have no u64.

@group(0) @binding(5) var<storage, read_write> x: array<vec4<u64>>;

const OCTETS: u32 = 8u; // of an invocation

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let id = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if id >= u.invocations {
        return;
    }
    let octets = u.quads / 2u;
    let parts = (octets + OCTETS - 1u) / OCTETS;
    let row = id / parts;
    let begin = id % parts * OCTETS;
    let end = min(begin + OCTETS, octets);
    let start = row * octets;
    if row >= state.rows {
        for (var i = begin; i < end; i++) {
            x[start + i] = vec4<u64>(0lu);
        }
        return;
    }
    if data.bytes != 0u {
        let first = first_of(row);
        for (var i = begin; i < end; i++) {
            let words = vec2u(features[first + i * 2u], features[first + i * 2u + 1u]).xxyy >> vec4u(0u, 16u, 0u, 16u);
            x[start + i] = joined(vec4f(words & vec4u(255u)) * SCALE, vec4f((words >> vec4u(8u)) & vec4u(255u)) * SCALE);
        }
    } else {
        let first = first_of(row);
        for (var i = begin; i < end; i++) {
            let at = first + i * 8u;
            let even = vec4u(features[at], features[at + 2u], features[at + 4u], features[at + 6u]);
            let odd = vec4u(features[at + 1u], features[at + 3u], features[at + 5u], features[at + 7u]);
            x[start + i] = joined(bitcast<vec4f>(even), bitcast<vec4f>(odd));
        }
    }
}
