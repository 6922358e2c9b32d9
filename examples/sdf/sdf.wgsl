// The app's own shader: the true shape, its samples, and ray marching. The host appends `fn field(p: vec3f) -> f32` and
// its gradient, `fn field_gradient(p: vec3f) -> vec3f`: the true shape, the network, or empty functions for passes
// without rays.

struct Frame {
    eye: vec3f,
    lens: f32, // focal length; the shorter side of the image is 2
    size: vec2u, // of the image, in pixels
    seed: u32,
}

@group(0) @binding(0) var<storage, read> frame: Frame;
@group(0) @binding(1) var<storage, read_write> points: array<f32>; // [samples, 3]
@group(0) @binding(2) var<storage, read_write> distances: array<f32>;
@group(0) @binding(3) var<storage, read_write> picture: array<u32>; // red, green, blue, and 1 if the ray hits the shape

// The smooth union of a ring and a ball, minus a box. The distance functions and the smooth union are those of Inigo
// Quilez, iquilezles.org/articles/distfunctions.
fn shape(p: vec3f) -> f32 {
    let ring = length(vec2f(length(p.xz) - 0.6, p.y)) - 0.2;
    let ball = length(p - vec3f(-0.45, 0.2, -0.3)) - 0.4;
    let h = max(0.25 - abs(ring - ball), 0.0);
    let joined = min(ring, ball) - h * h; // (0.25 - |difference|)^2 / (4 * 0.25)
    let corner = abs(p - vec3f(0.6, 0.25, 0.35)) - vec3f(0.3);
    let box = length(max(corner, vec3f(0.0))) + min(max(corner.x, max(corner.y, corner.z)), 0.0);
    return max(joined, -box);
}

// The gradient of the shape, by differences.
fn shape_gradient(p: vec3f) -> vec3f {
    let e = vec2f(1e-3, 0.0);
    return (vec3f(shape(p + e.xyy), shape(p + e.yxy), shape(p + e.yyx)) - shape(p)) / e.x;
}

// Random points in the cube from -1 to 1. Every second point is moved near the surface, because errors matter most
// there.
@compute @workgroup_size(64)
fn samples(@builtin(global_invocation_id) id: vec3u) {
    let row = id.x;
    if row >= arrayLength(&distances) {
        return;
    }
    var p = random(vec3u(row, frame.seed, 0u)) * 2.0 - 1.0;
    if row % 2u == 1u {
        let noise = (random(vec3u(row, frame.seed, 1u)) - 0.5) * 0.1;
        p = clamp(p - normalize(shape_gradient(p) + 1e-6) * shape(p) + noise, vec3f(-1.0), vec3f(1.0));
    }
    points[row * 3u] = p.x;
    points[row * 3u + 1u] = p.y;
    points[row * 3u + 2u] = p.z;
    distances[row] = shape(p);
}

// Sphere tracing (Hart, 1996) inside the cube. The network's distance is not exact, so steps are shorter. Returns red,
// green, blue, and 1 if the ray hits the shape.
fn march(pixel: vec2f) -> vec4f {
    let size = vec2f(frame.size);
    let at = (2.0 * pixel - size) / min(size.x, size.y);
    let eye = frame.eye;
    let forward = normalize(-eye);
    let right = normalize(cross(forward, vec3f(0.0, 1.0, 0.0)));
    let direction = normalize(forward * frame.lens + right * at.x - cross(right, forward) * at.y);
    let sides = -eye / direction;
    let reach = abs(1.0 / direction);
    let enter = sides - reach;
    let leave = sides + reach;
    var t = max(max(enter.x, 0.0), max(enter.y, enter.z));
    let end = min(leave.x, min(leave.y, leave.z));

    for (var i = 0u; i < 96u && t < end; i++) {
        let p = eye + t * direction;
        let distance = field(p);
        if distance < 0.002 {
            let normal = normalize(field_gradient(p));
            let light = max(dot(normal, normalize(vec3f(0.3, 0.9, 0.5))), 0.0);
            return vec4f((0.25 + 0.75 * light) * (0.55 + 0.35 * normal), 1.0);
        }
        t += 0.8 * distance;
    }
    return vec4f(vec3f(0.93 + 0.05 * at.y), 0.0);
}

// Headless mode: writes the image to a buffer.
@compute @workgroup_size(8, 8)
fn render(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.size) {
        return;
    }
    let seen = march(vec2f(id.xy) + 0.5);
    let bytes = vec4u(clamp(seen, vec4f(0.0), vec4f(1.0)) * vec4f(255.0, 255.0, 255.0, 1.0));
    picture[id.y * frame.size.x + id.x] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

// Window mode: draws a smaller image, then enlarges it to the window. One triangle covers each target.
@vertex
fn corners(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
    return vec4f(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

@fragment
fn look(@builtin(position) position: vec4f) -> @location(0) vec4f {
    return march(position.xy);
}

@group(0) @binding(4) var small: texture_2d<f32>;
@group(0) @binding(5) var between_texels: sampler;

@fragment
fn stretch(@builtin(position) position: vec4f) -> @location(0) vec4f {
    // The texture has the size of the window; the image fills a corner of it.
    let whole = vec2f(textureDimensions(small));
    let filled = vec2f(frame.size);
    let place = clamp(position.xy / whole * filled, vec2f(0.5), filled - 0.5);
    return textureSampleLevel(small, between_texels, place / whole, 0.0);
}
