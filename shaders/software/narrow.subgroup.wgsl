// The network for software adapters. One workgroup is one subgroup of LANES lanes and takes ROWS rows; a lane holds four
// columns of each, of every 4 * LANES columns one vector: x_g_r is row r of group g. What a layer puts out lies where the
// next one's products take it from: they are shuffled to all lanes, against weights of the lane's own columns.

const ZERO = vec4f(0.0);

// Four weights of the row of W that starts at `start`, from `column` on; the last ones again past its end.
fn weights(start: u32, column: u32, units: u32) -> vec4f {
    let i = start + min(column + vec4u(0u, 1u, 2u, 3u), vec4u(units - 1u));
    let word = i >> vec4u(2u);
    let at = i & vec4u(3u);
    return vec4f(
        parameters[word.x][at.x], parameters[word.y][at.y], parameters[word.z][at.z], parameters[word.w][at.w]);
}

// The same, where rows are whole vectors.
fn whole_weights(start: u32, column: u32, units: u32) -> vec4f {
    return parameters[(start + min(column, units - 4u)) >> 2u];
}

// Four numbers of a row of the input, or as many as there are from `column` on and zeros.
fn load(row: u32, column: u32) -> vec4f {
    let start = min(row, u.rows - 1u) * INPUTS;
    let columns = column + vec4u(0u, 1u, 2u, 3u);
    let i = start + min(columns, vec4u(INPUTS - 1u));
    return select(ZERO, vec4f(input[i.x], input[i.y], input[i.z], input[i.w]), columns < vec4u(INPUTS));
}

fn store(row: u32, column: u32, value: vec4f) {
    if row >= u.rows {
        return;
    }
    let start = row * OUTPUTS + column;
    output[start] = value.x;
    if column + 1u < OUTPUTS { output[start + 1u] = value.y; }
    if column + 2u < OUTPUTS { output[start + 2u] = value.z; }
    if column + 3u < OUTPUTS { output[start + 3u] = value.w; }
}

// Over the lanes, in an order that gives all of them the same bits.
fn largest_of_lanes(mine: f32) -> f32 {
    var value = mine;
    for (var distance = 1u; distance < LANES; distance *= 2u) {
        value = max(value, subgroupShuffleXor(value, distance));
    }
    return value;
}

fn sum_of_lanes(mine: f32) -> f32 {
    var value = mine;
    for (var distance = 1u; distance < LANES; distance *= 2u) {
        value += subgroupShuffleXor(value, distance);
    }
    return value;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    // No early return: behind one, the compiler masks every assignment. Rows that do not exist are not stored.
    let first_row = (workgroup.y * grid.x + workgroup.x) * ROWS;
    evaluate(first_row, lane);
}
