// For rows whose length is a multiple of 4: whole vectors are written.

@group(0) @binding(5) var<storage, read_write> x: array<vec4f>;

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
    x[id] = fetch(id / u.quads, id % u.quads, 4u);
}
