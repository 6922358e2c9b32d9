// Random numbers from a hash: three from 0 to 1 for each key. It has no bindings.

// Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020: pcg3d.
fn random(key: vec3u) -> vec3f {
    var v = key * 1664525u + 1013904223u;
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v ^= v >> vec3u(16u);
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    return vec3f(v >> vec3u(8u)) / 16777216.0;
}
