// Adds the gradients of a batch to those of the batches before it that make one update. Of a mean over rows, each batch
// counts by its rows, and the last one divides by all of them.

struct AccumulateUniforms {
    quads: u32, // parameters / 4
}

@group(0) @binding(0) var<storage, read> u: AccumulateUniforms;
@group(0) @binding(1) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read_write> sum: array<vec4f>;

override MEAN: bool = true;

const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (workgroup.y * grid.x + workgroup.x) * LANES + lane;
    // A chain's backward pass whose forward pass never ran has nothing to add.
    let stale = state.chain != 0u && state.chain != state.gradients_of;
    if i >= u.quads || stale {
        return;
    }
    var total = gradients[i];
    if MEAN {
        total *= f32(state.rows);
    }
    if state.batches > 1u {
        total += sum[i];
    }
    if MEAN && state.due != 0u {
        total /= f32(state.update_rows);
    }
    sum[i] = total;
}
