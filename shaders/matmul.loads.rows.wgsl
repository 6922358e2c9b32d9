// The loads of a product whose A and B are stored. matmul.loads.window.wgsl has those of a convolution.

// Four consecutive elements of A as stored, from `index` on. Past the `last` element the result is
// arbitrary, but nothing is read there.
fn load_a(index: u32, last: u32) -> vec4f {
    if A_ALIGNED {
        return a[min(index, last) >> 2u];
    }
    let i = min(index + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    let word = i >> vec4u(2u);
    let lane = i & vec4u(3u);
    return vec4f(a[word.x][lane.x], a[word.y][lane.y], a[word.z][lane.z], a[word.w][lane.w]);
}

fn load_b(index: u32, last: u32) -> vec4f {
    if B_ALIGNED {
        return b[min(index, last) >> 2u];
    }
    let i = min(index + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    let word = i >> vec4u(2u);
    let lane = i & vec4u(3u);
    return vec4f(b[word.x][lane.x], b[word.y][lane.y], b[word.z][lane.z], b[word.w][lane.w]);
}

// A 4x4 block as stored, its rows `stride` elements apart.
fn load_block_a(index: u32, stride: u32, last: u32) -> mat4x4f {
    return mat4x4f(load_a(index, last), load_a(index + stride, last),
                   load_a(index + 2u * stride, last), load_a(index + 3u * stride, last));
}

fn load_block_b(index: u32, stride: u32, last: u32) -> mat4x4f {
    return mat4x4f(load_b(index, last), load_b(index + stride, last),
                   load_b(index + 2u * stride, last), load_b(index + 3u * stride, last));
}
