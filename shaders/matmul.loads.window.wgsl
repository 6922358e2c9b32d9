// The loads of a product whose A is seen through a window: what matmul.loads.rows.wgsl has for others.

fn number_of_a(index: u32) -> f32 {
    let at = seen(index);
    let word = select(0u, at >> 2u, at != OUTSIDE);
    return select(0.0, a[word][at & 3u], at != OUTSIDE);
}

fn vector_of_a(at: u32) -> vec4f {
    let word = select(0u, at >> 2u, at != OUTSIDE);
    return select(vec4f(0.0), a[word], at != OUTSIDE);
}

fn load_a(index: u32, last: u32) -> vec4f {
    if A_ALIGNED {
        return vector_of_a(seen(min(index, last)));
    }
    let i = min(index + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    return vec4f(number_of_a(i.x), number_of_a(i.y), number_of_a(i.z), number_of_a(i.w));
}

// Rows as stored are positions, so the block's have a tap in common.
fn load_block_a(index: u32, stride: u32, last: u32) -> mat4x4f {
    if A_ALIGNED {
        let tap = tap_of(index % row_length());
        let position = min(index / row_length() + vec4u(0u, 1u, 2u, 3u), vec4u(last / row_length()));
        return mat4x4f(vector_of_a(seen_by(position.x, tap)), vector_of_a(seen_by(position.y, tap)),
                       vector_of_a(seen_by(position.z, tap)), vector_of_a(seen_by(position.w, tap)));
    }
    return mat4x4f(load_a(index, last), load_a(index + stride, last),
                   load_a(index + 2u * stride, last), load_a(index + 3u * stride, last));
}

fn number_of_b(index: u32) -> f32 {
    let at = weight(index, u.n);
    return b[at >> 2u][at & 3u];
}

fn load_b(index: u32, last: u32) -> vec4f {
    if B_ALIGNED {
        return b[weight(min(index, last), u.n) >> 2u];
    }
    let i = min(index + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    return vec4f(number_of_b(i.x), number_of_b(i.y), number_of_b(i.z), number_of_b(i.w));
}

// Rows of weights that are stored the other way have a tap and a channel in common.
fn load_block_b(index: u32, stride: u32, last: u32) -> mat4x4f {
    if B_ALIGNED && OTHER_WEIGHTS {
        let column = index % row_length();
        let row = min(index / row_length() + vec4u(0u, 1u, 2u, 3u), vec4u(u.n - 1u));
        let words = ((column / CHANNELS * u.n + row) * CHANNELS + column % CHANNELS) >> vec4u(2u);
        return mat4x4f(b[words.x], b[words.y], b[words.z], b[words.w]);
    }
    return mat4x4f(load_b(index, last), load_b(index + stride, last),
                   load_b(index + 2u * stride, last), load_b(index + 3u * stride, last));
}
