// The app's renderer: a path tracer of a closed room with a lamp, a mirror ball and diffuse balls. It does not depend
// on the network.

struct Frame {
    eye: vec3f,
    lens: f32, // focal length; the image is 2 wide and 2 high
    size: vec2u, // of the image, in pixels
    seed: u32,
    view: u32, // index of the sum to which this frame adds its samples
    fresh: u32, // 1: the sum restarts at 0
    samples: u32, // number of samples to add
    window: vec2u, // size of the window, in pixels
}

@group(0) @binding(0) var<storage, read> frame: Frame;
@group(0) @binding(1) var colour_out: texture_storage_2d<rgba32float, write>;
@group(0) @binding(2) var albedo_out: texture_storage_2d<rgba32float, write>;
@group(0) @binding(3) var normal_out: texture_storage_2d<rgba32float, write>;
@group(0) @binding(17) var position_out: texture_storage_2d<rgba32float, write>;
// [views, height, width]: the sum of the samples' radiance, and the number of samples.
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;

const PI = 3.14159265;
const LAMP = vec3f(3.6, 3.1, 2.4); // radiance of the lamp
const LAMP_SIDE = 1.2;
const BOUNCES = 6u;
const FAR = 1e9;

// Centres and radii of the balls. The first ball is a mirror.
const BALLS = array(
    vec4f(-0.3, -0.5, -0.25, 0.4),
    vec4f(0.45, -0.72, 0.1, 0.28),
    vec4f(-0.15, -0.82, 0.5, 0.18),
    vec4f(-0.72, -0.86, 0.3, 0.14),
    vec4f(0.25, -0.88, 0.62, 0.12),
    vec4f(0.7, -0.85, -0.45, 0.15),
    vec4f(0.72, -0.9, 0.6, 0.1),
    vec4f(-0.6, -0.85, 0.75, 0.15),
    vec4f(0.5, 0.05, -0.35, 0.2),
    vec4f(-0.5, 0.25, 0.4, 0.14),
    vec4f(0.1, -0.15, 0.35, 0.11),
    vec4f(0.3, -0.9, -0.75, 0.1),
);
const BALL_ALBEDO = array(
    vec3f(0.95, 0.93, 0.9),
    vec3f(0.2, 0.35, 0.75),
    vec3f(0.85, 0.65, 0.15),
    vec3f(0.8, 0.8, 0.78),
    vec3f(0.75, 0.2, 0.15),
    vec3f(0.25, 0.6, 0.3),
    vec3f(0.8, 0.8, 0.78),
    vec3f(0.55, 0.3, 0.65),
    vec3f(0.8, 0.75, 0.65),
    vec3f(0.85, 0.4, 0.2),
    vec3f(0.3, 0.65, 0.7),
    vec3f(0.8, 0.8, 0.78),
);

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

// Distance and index of the nearest ball on a ray. The ball around the start of the ray is ignored: no ball is
// transparent.
fn nearest_ball(from_: vec3f, direction: vec3f) -> vec2f {
    var nearest = vec2f(FAR, 0.0);
    for (var i = 0u; i < 12u; i++) {
        let ball = BALLS[i];
        let to = from_ - ball.xyz;
        let b = dot(to, direction);
        let root = b * b - dot(to, to) + ball.w * ball.w;
        let t = -b - sqrt(max(root, 0.0));
        if root > 0.0 && t > 0.0 && t < nearest.x {
            nearest = vec2f(t, f32(i));
        }
    }
    return nearest;
}

struct Hit {
    t: f32,
    normal: vec3f,
    albedo: vec3f, // radiance for the lamp and the background
    kind: u32,
}

const PAINT = 0u;
const MIRROR = 1u;
const LIGHT = 2u;

// The first hit of a ray. Walls are visible only from inside, so the camera may be outside the room.
fn meet(from_: vec3f, direction: vec3f) -> Hit {
    let ball = nearest_ball(from_, direction);
    if ball.x < FAR {
        let i = u32(ball.y);
        let normal = (from_ + ball.x * direction - BALLS[i].xyz) / BALLS[i].w;
        return Hit(ball.x, normal, BALL_ALBEDO[i], select(PAINT, MIRROR, i == 0u));
    }
    let reach = abs(1.0 / direction);
    let sides = -from_ / direction;
    let leave = sides + reach;
    let enter = sides - reach;
    let t = min(leave.x, min(leave.y, leave.z));
    if max(enter.x, max(enter.y, enter.z)) > t {
        return Hit(FAR, vec3f(0.0), vec3f(0.25), LIGHT);
    }
    let p = from_ + t * direction;
    if t == leave.x {
        let wall = select(vec3f(0.62, 0.08, 0.06), vec3f(0.12, 0.45, 0.1), p.x > 0.0);
        return Hit(t, vec3f(-sign(p.x), 0.0, 0.0), wall, PAINT);
    }
    if t == leave.z {
        // Stripes on one wall.
        let wall = select(vec3f(0.7, 0.7, 0.68), vec3f(0.7, 0.45, 0.25), p.z > 0.0 && fract(p.y * 3.0) < 0.5);
        return Hit(t, vec3f(0.0, 0.0, -sign(p.z)), wall, PAINT);
    }
    if p.y > 0.0 {
        let lit = max(abs(p.x), abs(p.z)) < LAMP_SIDE / 2.0;
        return Hit(t, vec3f(0.0, -1.0, 0.0), select(vec3f(0.75), LAMP, lit), select(PAINT, LIGHT, lit));
    }
    let tile = (i32(floor(p.x * 3.0)) + i32(floor(p.z * 3.0))) & 1;
    return Hit(t, vec3f(0.0, 1.0, 0.0), select(vec3f(0.7, 0.68, 0.62), vec3f(0.15, 0.14, 0.2), tile == 1), PAINT);
}

struct Sample {
    colour: vec3f, // radiance
    albedo: vec3f, // of the first diffuse surface on the path, times that of mirrors before it
    normal: vec3f, // of that surface
    position: vec3f, // of that surface
}

// Traces a path, with a shadow ray to the lamp at each diffuse surface (next-event estimation; Kajiya, 1986). After a
// diffuse surface, a path that hits the lamp adds nothing, because the shadow ray has counted it. There are no
// caustics.
fn trace(pixel: vec2u, number: u32) -> Sample {
    let at = (2.0 * (vec2f(pixel) + 0.5) - vec2f(frame.size)) / f32(min(frame.size.x, frame.size.y));
    let forward = normalize(vec3f(0.0, -0.25, 0.0) - frame.eye);
    let right = normalize(cross(forward, vec3f(0.0, 1.0, 0.0)));
    var p = frame.eye;
    var direction = normalize(forward * frame.lens + right * at.x - cross(right, forward) * at.y);
    var through = vec3f(1.0);
    var seen = Sample(vec3f(0.0), vec3f(1.0), vec3f(0.0), vec3f(0.0));
    var painted = false;
    for (var bounce = 0u; bounce < BOUNCES; bounce++) {
        let hit = meet(p, direction);
        if hit.kind == LIGHT {
            if !painted {
                // The albedo of the lamp is its radiance, so the filter does not mix it with darker pixels.
                seen.colour = through * hit.albedo;
                seen.albedo = seen.colour;
            }
            break;
        }
        p += hit.t * direction + 1e-4 * hit.normal;
        through *= hit.albedo;
        if hit.kind == MIRROR {
            direction = reflect(direction, hit.normal);
            continue;
        }
        if !painted {
            painted = true;
            seen.albedo = through;
            seen.normal = hit.normal;
            seen.position = p;
        }
        let key = vec3u(pixel.y * frame.size.x + pixel.x, number, bounce * 2u);
        let on_lamp = random(key).xy - 0.5;
        let to_lamp = vec3f(on_lamp.x * LAMP_SIDE, 1.0, on_lamp.y * LAMP_SIDE) - p;
        let squared = dot(to_lamp, to_lamp);
        let to = to_lamp * inverseSqrt(squared);
        let cosines = max(dot(to, hit.normal), 0.0) * max(to.y, 0.0);
        if cosines > 0.0 && nearest_ball(p, to).x > sqrt(squared) {
            seen.colour += through * LAMP * (cosines * LAMP_SIDE * LAMP_SIDE / (PI * squared));
        }
        // The next direction, with cosine-weighted density.
        let u = random(key + vec3u(0u, 0u, 1u));
        let z = 1.0 - 2.0 * u.x;
        let flat = sqrt(max(1.0 - z * z, 0.0));
        let turn = 2.0 * PI * u.y;
        direction = normalize(hit.normal * 1.0001 + vec3f(flat * cos(turn), flat * sin(turn), z));
    }
    return seen;
}

// Draws one sample per pixel, with albedo, normal and position. Adds other samples to the sum.
@compute @workgroup_size(8, 8)
fn draw(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.size) {
        return;
    }
    let seen = trace(id.xy, frame.seed * 2u);
    textureStore(colour_out, id.xy, vec4f(seen.colour, 1.0));
    textureStore(albedo_out, id.xy, vec4f(seen.albedo, 1.0));
    textureStore(normal_out, id.xy, vec4f(seen.normal, 1.0));
    textureStore(position_out, id.xy, vec4f(seen.position, 1.0));
    add_samples(id.xy);
}

@compute @workgroup_size(8, 8)
fn add(@builtin(global_invocation_id) id: vec3u) {
    if all(id.xy < frame.size) {
        add_samples(id.xy);
    }
}

// The sample numbers are odd here and even in `draw`, so the sum never contains the drawn sample.
fn add_samples(pixel: vec2u) {
    let place = (frame.view * frame.size.y + pixel.y) * frame.size.x + pixel.x;
    var sum = select(sums[place], vec4f(0.0), frame.fresh == 1u);
    for (var i = 0u; i < frame.samples; i++) {
        sum += vec4f(trace(pixel, (frame.seed + i * 65536u) * 2u + 1u).colour, 1.0);
    }
    sums[place] = sum;
}
