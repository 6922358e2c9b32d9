// The network for real GPUs. Weights are the same for all lanes: a loop's worth of them is loaded once for a subgroup.

const LANES: u32 = 64u;

// A layer's input: number i of a lane's row at i * LANES + lane. Lanes read what they wrote themselves, so there is no
// barrier. In registers it could not be indexed, and code for each weight would be longer than instruction caches.
var<workgroup> tile: array<f32, WIDEST * LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    if row >= u.rows {
        return;
    }
    for (var i = 0u; i < INPUTS; i++) {
        tile[i * LANES + lane] = input[row * INPUTS + i];
    }
    evaluate(row, lane);
}
