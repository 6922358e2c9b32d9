// Looks for NaN and infinities among weights or moments. Where it finds one, the totals that metrics.wgsl has just written
// say that this step was not finite: a finite loss says nothing of the weights that the last step left.

struct NonFiniteUniforms {
    quads: u32, // numbers / 4
}

// RowMetrics, whose last word several workgroups may set: all to the same.
struct Totals {
    loss: f32,
    correct: u32,
    rows: u32,
    non_finite_step: atomic<u32>,
}

@group(0) @binding(0) var<storage, read> u: NonFiniteUniforms;
@group(0) @binding(1) var<storage, read> input: array<vec4u>;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read_write> totals: Totals;

const LANES: u32 = 256u;
const EXPONENT: vec4u = vec4u(0x7f800000u);

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    // By their bits: compilers may assume that neither NaN nor infinity exists.
    var found = false;
    for (var i = workgroup.x * LANES + lane; i < u.quads; i += grid.x * LANES) {
        found |= any((input[i] & EXPONENT) == EXPONENT);
    }
    // A loss that was not finite before stays the first.
    if found && atomicLoad(&totals.non_finite_step) == 0u {
        atomicStore(&totals.non_finite_step, max(state.step, 1u));
    }
}
