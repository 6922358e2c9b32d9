// The loads of a product whose A is seen through a window: what matmul.loads.rows.wgsl has for others.

fn number_of_a(index: u32) -> f32 {
    let at = seen(index);
    let word = select(0u, at >> 2u, at != OUTSIDE);
    return select(0.0, a[word][at & 3u], at != OUTSIDE);
}

fn load_a(index: u32, last: u32) -> vec4f {
    if A_ALIGNED {
        let at = seen(min(index, last));
        let word = select(0u, at >> 2u, at != OUTSIDE);
        return select(vec4f(0.0), a[word], at != OUTSIDE);
    }
    let i = min(index + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    return vec4f(number_of_a(i.x), number_of_a(i.y), number_of_a(i.z), number_of_a(i.w));
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
