// Softmax and cross-entropy of a row of logits: its loss, its share of the running metrics and, with GRADIENT, the
// gradient (softmax * sum of targets - target) * weight / rows.

struct SoftmaxCrossEntropyUniforms {
    batch: u32,
    outputs: u32, // classes
    turns: u32, // steps have slots of the metrics by turns
    smoothing: f32,
}

@group(0) @binding(0) var<storage, read> u: SoftmaxCrossEntropyUniforms;
@group(0) @binding(1) var<storage, read> logits: array<f32>;

// What the lanes of a row find out about it.
struct Sums {
    exps: f32,    // sum of e^(z - largest)
    others: f32,  // the same without the predicted class, whose 1 would swallow them
    targets: f32, // sum of targets
    along: f32,   // sum of target * (z - largest)
    expected: u32,          // the first class with
    expected_target: f32,   // the largest target, before smoothing, which rounds
}

var<workgroup> lane_largest: array<f32, 64>;
var<workgroup> lane_class: array<u32, 64>;
var<workgroup> lane_sums: array<Sums, 64>;

// What a row asks of its classes. Read once a row, as a read is dear on software adapters.
struct RowTarget {
    first: u32, // where it begins
    label: u32, // what is there: the label, unless each class has a number
    values: bool,
    kept: f32,   // what smoothing leaves of a target
    spread: f32, // and what it gives to each class
}

// The target of class `c`, before smoothing.
fn given_target(c: u32, row: RowTarget) -> f32 {
    var t = select(0.0, 1.0, row.label == c);
    if row.values {
        t = bitcast<f32>(targets[row.first + c]);
    }
    return t;
}

// The target of class `c`.
fn target_of(c: u32, row: RowTarget) -> f32 {
    return row.kept * given_target(c, row) + row.spread;
}

// ln(1 + u) for u >= 0. Where u is small, 1 + u would lose it: 2 artanh(s) with s = u / (2 + u) <= 1/3, by its series.
fn log_1_plus(u: f32) -> f32 {
    let s = u / (2.0 + u);
    let q = s * s;
    var series = 1.0 / 15.0;
    series = series * q + 1.0 / 13.0;
    series = series * q + 1.0 / 11.0;
    series = series * q + 1.0 / 9.0;
    series = series * q + 1.0 / 7.0;
    series = series * q + 1.0 / 5.0;
    series = series * q + 1.0 / 3.0;
    series = series * q + 1.0;
    return select(2.0 * s * series, log(1.0 + u), u > 1.0);
}

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
    let classes = select(0u, u.outputs, exists);
    let start = row * u.outputs;

    // A row of targets: a label or a number for each class, then its weight if rows have one.
    let values = data.values != 0u;
    let width = width_of_targets(u.outputs);
    let first = first_target(row, exists);
    let smoothing = u.smoothing;
    let asked = RowTarget(first, targets[first], values, 1.0 - smoothing, smoothing / f32(u.outputs));

    // The largest logit and the first class that has it.
    var largest = LOWEST;
    var predicted = 0u;
    var unranked = false;
    for (var c = lane; c < classes; c += LANES) {
        let z = logits[start + c];
        unranked |= is_nan(z);
        if z > largest || c == lane {
            largest = z;
            predicted = c;
        }
    }
    if LANES > 1u {
        lane_largest[lane] = largest;
        lane_class[lane] = select(predicted, NO_CLASS, unranked);
        workgroupBarrier();
        largest = lane_largest[0];
        predicted = lane_class[0];
        unranked = predicted == NO_CLASS;
        for (var i = 1u; i < LANES; i++) {
            let z = lane_largest[i];
            let c = lane_class[i];
            unranked |= c == NO_CLASS;
            if z > largest || (z == largest && c < predicted) {
                largest = z;
                predicted = c;
            }
        }
    }

    // Subtracting the largest keeps exp from overflowing.
    var sums = Sums(0.0, 0.0, 0.0, 0.0, 0u, LOWEST);
    for (var c = lane; c < classes; c += LANES) {
        let distance = logits[start + c] - largest;
        let t = target_of(c, asked);
        let e = exp(distance);
        sums.exps += e;
        sums.others += select(e, 0.0, c == predicted);
        sums.targets += t;
        // A target of 0 asks nothing of its class, be its logit -infinity.
        sums.along += select(0.0, t * distance, t != 0.0);
        let given = given_target(c, asked);
        if given > sums.expected_target {
            sums.expected = c;
            sums.expected_target = given;
        }
    }
    if LANES > 1u {
        lane_sums[lane] = sums;
        workgroupBarrier();
        sums = lane_sums[0];
        for (var i = 1u; i < LANES; i++) {
            let other = lane_sums[i];
            sums.exps += other.exps;
            sums.others += other.others;
            sums.targets += other.targets;
            sums.along += other.along;
            if other.expected_target > sums.expected_target
                || (other.expected_target == sums.expected_target && other.expected < sums.expected) {
                sums.expected = other.expected;
                sums.expected_target = other.expected_target;
            }
        }
    }

    if !exists {
        if GRADIENT && row < u.batch {
            for (var c = lane; c < u.outputs; c += LANES) {
                gradient[start + c] = 0.0;
            }
        }
        return;
    }
    var weight = 1.0;
    if data.weighted != 0u {
        weight = bitcast<f32>(targets[first + width]);
    }
    if GRADIENT {
        let rows = f32(state.rows);
        for (var c = lane; c < classes; c += LANES) {
            let softmax = exp(logits[start + c] - largest) / sums.exps;
            gradient[start + c] = (softmax * sums.targets - target_of(c, asked)) * weight / rows;
        }
    }
    if lane == 0u {
        var loss = (log_1_plus(sums.others) * sums.targets - sums.along) * weight;
        // NaN, where a logit is.
        loss = select(loss, sums.exps, !is_finite(sums.exps));
        var correct = predicted == sums.expected;
        if !values {
            // A label that is no class, in data that the host has not seen.
            if asked.label >= classes {
                loss = bitcast<f32>(0x7fc00000u | asked.label); // not a constant, which WGSL would refuse
            }
            correct = predicted == asked.label;
        }
        count_row(row, loss, correct && !unranked);
    }
}
