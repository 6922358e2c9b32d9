// Sums the metrics of the batch's rows. One workgroup: each lane sums every 256th row, then lane 0 sums the lanes.

struct MetricsUniforms {
    batch: u32,
}

struct RowMetrics {
    loss: f32,
    correct: u32,
    rows: u32,
    non_finite_step: u32,
}

@group(0) @binding(0) var<storage, read> u: MetricsUniforms;
@group(0) @binding(1) var<storage, read> rows: array<RowMetrics>;
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
    for (var i = lane; i < u.batch; i += LANES) {
        total = add(total, rows[i]);
    }
    lane_total[lane] = total;
    workgroupBarrier();
    if lane == 0u {
        for (var i = 1u; i < LANES; i++) {
            total = add(total, lane_total[i]);
        }
        totals = total;
    }
}
