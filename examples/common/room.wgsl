// A closed room with a lamp, a mirror ball and diffuse balls: its surfaces, its camera and the light of its lamp. The
// path tracers of `denoise` and `radiance_cache` share it. It has no bindings. Requires random.wgsl.

const PI = 3.14159265;
const LAMP = vec3f(3.6, 3.1, 2.4); // radiance of the lamp
const LAMP_SIDE = 1.2;
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

// The direction of a camera ray through a point of the image. The camera looks at the middle of the room. The shorter
// side of the image is 2 wide.
fn camera_ray(eye: vec3f, lens: f32, size: vec2u, point: vec2f) -> vec3f {
    let at = (2.0 * point - vec2f(size)) / f32(min(size.x, size.y));
    let forward = normalize(vec3f(0.0, -0.25, 0.0) - eye);
    let right = normalize(cross(forward, vec3f(0.0, 1.0, 0.0)));
    return normalize(forward * lens + right * at.x - cross(right, forward) * at.y);
}

// The lamp's light that a white diffuse surface reflects, by a shadow ray to one point of the lamp (next-event
// estimation; Kajiya, 1986). `on_lamp` is that point, from -0.5 to 0.5.
fn lamp_light(p: vec3f, normal: vec3f, on_lamp: vec2f) -> vec3f {
    let to_lamp = vec3f(on_lamp.x * LAMP_SIDE, 1.0, on_lamp.y * LAMP_SIDE) - p;
    let squared = dot(to_lamp, to_lamp);
    let to = to_lamp * inverseSqrt(squared);
    let cosines = max(dot(to, normal), 0.0) * max(to.y, 0.0);
    if cosines > 0.0 && nearest_ball(p, to).x > sqrt(squared) {
        return LAMP * (cosines * LAMP_SIDE * LAMP_SIDE / (PI * squared));
    }
    return vec3f(0.0);
}

// A direction with uniform density, from random numbers.
fn uniform_direction(u: vec2f) -> vec3f {
    let z = 1.0 - 2.0 * u.x;
    let flat = sqrt(max(1.0 - z * z, 0.0));
    let turn = 2.0 * PI * u.y;
    return vec3f(flat * cos(turn), flat * sin(turn), z);
}

// The next direction of a path at a diffuse surface, with cosine-weighted density.
fn diffuse_direction(normal: vec3f, u: vec2f) -> vec3f {
    return normalize(normal * 1.0001 + uniform_direction(u));
}
