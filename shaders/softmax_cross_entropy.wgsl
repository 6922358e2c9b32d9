// Softmax and cross-entropy of a row of logits: its loss, its share of the running metrics and, with GRADIENT, the
// gradient (softmax - one_hot) / rows. LANES invocations share a row; each sums the lanes' partial results in the same
// order, so all agree to the bit. With one lane a row there is nothing to share, and no barrier.

struct SoftmaxCrossEntropyUniforms {
    batch: u32,
    classes: u32,
}

struct StepState {
    step: u32,
    rows: u32,
    epoch: u32,
    position: u32,
}

struct RowMetrics {
    loss: f32,
    correct: u32,
    rows: u32,
    non_finite_step: u32,
}

@group(0) @binding(0) var<storage, read> u: SoftmaxCrossEntropyUniforms;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read> indices: array<u32>;
@group(0) @binding(5) var<storage, read_write> metrics: array<RowMetrics>;
@group(0) @binding(6) var<storage, read_write> gradient: array<f32>;

override LANES: u32 = 64; // invocations of a row: 1 or 64
override ROWS: u32 = 1;   // rows of a workgroup; LANES * ROWS is 64 at most
override GRADIENT: bool = true;

const LOWEST: f32 = -3.4028234e38;

var<workgroup> lane_largest: array<f32, 64>;
var<workgroup> lane_class: array<u32, 64>;
var<workgroup> lane_sum: array<f32, 64>;

@compute @workgroup_size(LANES, ROWS)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let lane = local.x;
    let row = (workgroup.y * grid.x + workgroup.x) * ROWS + local.y;
    // No early return, as barriers follow: a row that does not exist has no classes.
    let exists = row < min(u.batch, state.rows);
    let classes = select(0u, u.classes, exists);
    let start = row * u.classes;

    // The largest logit and the first class that has it.
    var largest = LOWEST;
    var predicted = 0u;
    for (var c = lane; c < classes; c += LANES) {
        let z = logits[start + c];
        if z > largest {
            largest = z;
            predicted = c;
        }
    }
    if LANES > 1u {
        lane_largest[lane] = largest;
        lane_class[lane] = predicted;
        workgroupBarrier();
        largest = lane_largest[0];
        predicted = lane_class[0];
        for (var i = 1u; i < LANES; i++) {
            let z = lane_largest[i];
            let c = lane_class[i];
            if z > largest || (z == largest && c < predicted) {
                largest = z;
                predicted = c;
            }
        }
    }

    // Subtracting the largest keeps exp from overflowing.
    var sum = 0.0;
    for (var c = lane; c < classes; c += LANES) {
        sum += exp(logits[start + c] - largest);
    }
    if LANES > 1u {
        lane_sum[lane] = sum;
        workgroupBarrier();
        sum = 0.0;
        for (var i = 0u; i < LANES; i++) {
            sum += lane_sum[i];
        }
    }

    if !exists {
        if GRADIENT && row < u.batch {
            for (var c = lane; c < u.classes; c += LANES) {
                gradient[start + c] = 0.0;
            }
        }
        return;
    }
    let label = labels[indices[row]];
    if GRADIENT {
        let rows = f32(state.rows);
        for (var c = lane; c < classes; c += LANES) {
            let softmax = exp(logits[start + c] - largest) / sum;
            gradient[start + c] = (softmax - select(0.0, 1.0, c == label)) / rows;
        }
    }
    if lane == 0u {
        var loss = log(sum) - (logits[start + min(label, classes - 1u)] - largest);
        // A label that is no class, in data that the host has not seen.
        if label >= classes {
            loss = bitcast<f32>(0x7f800000u | label); // not a constant, which WGSL would refuse
        }
        metrics[row].loss += loss;
        metrics[row].rows += 1u;
        if predicted == label {
            metrics[row].correct += 1u;
        }
        // By its bits: compilers may assume that no NaN exists.
        let finite = (bitcast<u32>(loss) & 0x7f800000u) != 0x7f800000u;
        if !finite && metrics[row].non_finite_step == 0u {
            metrics[row].non_finite_step = state.step;
        }
    }
}
