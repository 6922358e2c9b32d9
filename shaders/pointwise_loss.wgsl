// A loss of outputs taken one by one, of a row: its share of the running metrics and, with GRADIENT, its gradient. Follows
// the functions of an activation.

struct PointwiseLossUniforms {
    batch: u32,
    outputs: u32,
    turns: u32, // steps have slots of the metrics by turns
    delta: f32, // Huber's
}

@group(0) @binding(0) var<storage, read> u: PointwiseLossUniforms;
@group(0) @binding(1) var<storage, read> output: array<f32>;

override LOSS: u32 = 0;   // 0 mean squared error, 1 sum of squares, 2 mean absolute error, 3 Huber, 4 binary cross-entropy

struct Largest {
    value: f32,
    output: u32,
}

var<workgroup> lane_loss: array<f32, 64>;
var<workgroup> lane_predicted: array<Largest, 64>;
var<workgroup> lane_expected: array<Largest, 64>;

fn larger(a: Largest, b: Largest) -> Largest {
    let comes_first = b.value > a.value || (b.value == a.value && b.output < a.output);
    if a.output != NO_CLASS && (comes_first || b.output == NO_CLASS) {
        return b;
    }
    return a;
}

// Whether a target is none that the loss takes: those of a data set are checked by the host, those of an app's buffer here.
fn is_outside(t: f32) -> bool {
    return LOSS == 4u && (t < 0.0 || t > 1.0);
}

// An output as the largest so far.
fn ranked(value: f32, i: u32) -> Largest {
    return Largest(value, select(i, NO_CLASS, is_nan(value)));
}

// Binary cross-entropy from a logit. ln(1 + e^z) - t z would lose a small loss of target 1 in the difference, and
// sigmoid(z) - t its gradient; these are sums of what a right answer costs and of what the target says against it.
fn logistic_loss(z: f32, t: f32) -> vec2f {
    let far = vec4f(-abs(z));
    let against = select(t, 1.0 - t, z > 0.0);
    let excess = sigmoid(far).x - against;
    return vec2f(softplus(far).x + abs(z) * against, select(excess, -excess, z > 0.0));
}

// The loss of one output and its derivative.
fn loss_of(y: f32, t: f32) -> vec2f {
    let error = y - t;
    // Not the built-in function, which makes 0 of NaN.
    let sign = select(select(error, -1.0, error < 0.0), 1.0, error > 0.0);
    switch LOSS {
        case 2u: { return vec2f(abs(error), sign); }
        case 3u: {
            if abs(error) <= u.delta {
                return vec2f(0.5 * error * error, error);
            }
            return vec2f(u.delta * (abs(error) - 0.5 * u.delta), u.delta * sign);
        }
        case 4u: { return logistic_loss(y, t); }
        default: { return vec2f(error * error, 2.0 * error); }
    }
}

@compute @workgroup_size(LANES, ROWS)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let lane = local.x;
    let row = (workgroup.y * grid.x + workgroup.x) * ROWS + local.y;
    // No early return, as barriers follow: a row that does not exist has no outputs.
    let exists = row < min(u.batch, state.rows);
    let outputs = select(0u, u.outputs, exists);
    let start = row * u.outputs;

    // A row of targets: a label or a number for each output, then its weight if rows have one.
    let values = data.values != 0u;
    let width = width_of_targets(u.outputs);
    let first = first_target(row, exists);
    let label = targets[first];
    var weight = 1.0;
    if data.weighted != 0u {
        weight = bitcast<f32>(targets[first + width]);
    }
    var of_row = 1.0;
    var of_batch = 1.0;
    if LOSS != 1u {
        of_row = f32(u.outputs);
        of_batch = f32(state.rows);
    }

    var loss = 0.0;
    var predicted = Largest(LOWEST, 0u);
    var expected = Largest(LOWEST, 0u);
    for (var i = lane; i < outputs; i += LANES) {
        let y = output[start + i];
        var t = select(0.0, 1.0, label == i);
        if values {
            t = bitcast<f32>(targets[first + i]);
        } else if u.outputs == 1u {
            t = f32(label);
        }
        let of_output = loss_of(y, t);
        loss += of_output.x;
        var as_target = ranked(t, i);
        if is_outside(t) {
            as_target.output = NO_CLASS;
        }
        if i == lane {
            predicted = ranked(y, i);
            expected = as_target;
        } else {
            predicted = larger(predicted, ranked(y, i));
            expected = larger(expected, as_target);
        }
        if GRADIENT {
            gradient[start + i] = of_output.y * derivative(vec4f(y)).x * weight / (of_row * of_batch);
        }
    }
    if LANES > 1u {
        lane_loss[lane] = loss;
        lane_predicted[lane] = predicted;
        lane_expected[lane] = expected;
        workgroupBarrier();
        loss = 0.0;
        for (var i = 0u; i < LANES; i++) {
            loss += lane_loss[i];
            predicted = larger(predicted, lane_predicted[i]);
            expected = larger(expected, lane_expected[i]);
        }
    }

    if !exists {
        if GRADIENT && row < u.batch {
            for (var i = lane; i < u.outputs; i += LANES) {
                gradient[start + i] = 0.0;
            }
        }
        return;
    }
    if lane == 0u {
        loss = loss / of_row * weight;
        if expected.output == NO_CLASS {
            loss = bitcast<f32>(0x7fc00000u | (row & 0xffu)); // not a constant, which WGSL would refuse
        }
        var correct = predicted.output == expected.output;
        if u.outputs == 1u {
            // One output tells two classes apart: at logit 0, or half way between targets 0 and 1.
            let threshold = select(0.5, 0.0, LOSS == 4u);
            correct = (predicted.value > threshold) == (expected.value > 0.5);
        }
        correct = correct && predicted.output != NO_CLASS && expected.output != NO_CLASS;
        count_row(row, loss, correct);
    }
}
