// Copies rows of any length.

@group(0) @binding(5) var<storage, read_write> x: array<f32>;

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
    let row = id / u.quads;
    let quad = id % u.quads;
    let count = min(u.columns - quad * 4u, 4u);
    let value = fetch(row, quad, count);
    let start = row * u.columns + quad * 4u;
    x[start] = value.x;
    if count > 1u { x[start + 1u] = value.y; }
    if count > 2u { x[start + 2u] = value.z; }
    if count > 3u { x[start + 3u] = value.w; }
}
