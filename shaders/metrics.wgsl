// Sums the metrics of all slots. One workgroup: each lane sums every 256th slot, then half the lanes add the other
// half's sums, and half of those, and so on: a tree, where rounding errors grow with the logarithm of the slots.

struct MetricsUniforms {
    count: u32,
}

@group(0) @binding(0) var<storage, read> u: MetricsUniforms;
@group(0) @binding(1) var<storage, read> slots: array<RowMetrics>;
@group(0) @binding(2) var<storage, read_write> totals: RowMetrics;

const LANES: u32 = 256u;

var<workgroup> lane_total: array<RowMetrics, LANES>;

fn add(a: RowMetrics, b: RowMetrics) -> RowMetrics {
    var sum = a;
    sum.loss += b.loss;
    sum.correct += b.correct;
    sum.rows += b.rows;
    // The earlier of the two, where 0 means none.
    sum.non_finite_step = min(a.non_finite_step - 1u, b.non_finite_step - 1u) + 1u;
    return sum;
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var total = RowMetrics();
    for (var i = lane; i < u.count; i += LANES) {
        total = add(total, slots[i]);
    }
    lane_total[lane] = total;
    for (var lanes = LANES / 2u; lanes > 0u; lanes /= 2u) {
        workgroupBarrier();
        if lane < lanes {
            lane_total[lane] = add(lane_total[lane], lane_total[lane + lanes]);
        }
    }
    if lane == 0u {
        totals = lane_total[0];
    }
}
