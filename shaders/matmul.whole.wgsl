// The tile of a workgroup, and the steps of k that it sums: all of them. matmul.part.wgsl has the same for a part.
struct Place {
    tile: u32,
    k_start: u32,
    k_end: u32,
}

fn place(number: u32) -> Place {
    return Place(number, 0u, u.k);
}
