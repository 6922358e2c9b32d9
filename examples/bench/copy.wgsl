// Copies a buffer, to measure the memory bandwidth of a kernel.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> target_: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
    let i = id.y * grid.x * 64 + id.x;
    if i < arrayLength(&source) {
        target_[i] = source[i];
    }
}
