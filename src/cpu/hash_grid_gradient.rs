//! Twin of `shaders/hash_grid_gradient.wgsl`.

pub fn hash_grid_gradient(scales: &[f32], blocks: &[u32], sums: &mut [i32], table_gradient: &mut [f32]) {
    for (i, (gradient, sum)) in table_gradient.iter_mut().zip(sums).enumerate() {
        let level = blocks[i / 64] as usize;
        *gradient = *sum as f32 * scales[2 * level + 1];
        *sum = 0;
    }
}
