// The app's passes: paths that end in the network, training paths, and plain path tracing for comparison.
//
// The network learns the light that a white diffuse surface would reflect, by position and normal. The radiance of a
// surface is this light times the albedo. It has no direction, because the room has only diffuse surfaces and a mirror,
// and a mirror never ends a path.

struct Frame {
    eye: vec3f,
    lens: f32, // focal length; the shorter side of the image is 2
    size: vec2u, // of the image, in pixels
    seed: u32,
    bounces: u32, // bounces of a path between the first diffuse surface and the surface that asks the network
    window: vec2u, // size of the window, in pixels
    samples: u32, // samples per pixel of plain path tracing
    training_rows: u32,
}

// The part of a path's radiance that is known before the network's answer: radiance = light + through * answer.
struct Known {
    light: vec4f,
    through: vec4f,
}

@group(0) @binding(0) var<storage, read> frame: Frame;
// Surfaces whose light the network learns: position from 0 to 1 and normal, [training rows, 6].
@group(0) @binding(1) var<storage, read_write> lessons: array<f32>;
// Surfaces that ask the network: the ends of the training paths, then those of the pixels' paths.
@group(0) @binding(2) var<storage, read_write> questions: array<f32>; // [training rows + pixels, 6]
@group(0) @binding(3) var<storage, read_write> known: array<Known>; // [training rows + pixels]
@group(0) @binding(4) var<storage, read> answers: array<f32>; // output of the network, [training rows + pixels, 3]
@group(0) @binding(5) var<storage, read_write> targets: array<f32>; // [training rows, 3]
// The radiance of each pixel in this frame, [pixels], and 1.
@group(0) @binding(6) var<storage, read_write> image: array<vec4f>;
// The sums of the samples' radiance and of its squares, [pixels]; w counts the samples.
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> squares: array<vec4f>;

const LONGEST = 12u; // bounces of plain path tracing; what is longer carries below 0.1% of the light
const TAIL = 3u; // bounces of a training path before it asks the network

// Streams of random numbers.
const PIXELS = 0u;
const STARTS = 1u;
const LESSONS = 2u;
const PLAIN = 3u;

struct Surface {
    p: vec3f,
    normal: vec3f,
}

// The first surface on a ray that is not the mirror.
struct Seen {
    emitted: vec3f, // radiance of the lamp or of the background
    albedo: vec3f, // 0 for the lamp and the background
    surface: Surface,
}

// A loop, because each call of `meet` costs a driver's compiler seconds. The mirror is a ball: its reflection does not
// meet it again.
fn look(from_: vec3f, towards: vec3f) -> Seen {
    var p = from_;
    var direction = towards;
    var through = vec3f(1.0);
    var hit: Hit;
    for (var i = 0u; i < 2u; i++) {
        hit = meet(p, direction);
        p += hit.t * direction + 1e-4 * hit.normal;
        through *= hit.albedo;
        if hit.kind != MIRROR {
            break;
        }
        direction = reflect(direction, hit.normal);
    }
    let lit = hit.kind == LIGHT;
    return Seen(select(vec3f(0.0), through, lit), select(through, vec3f(0.0), lit), Surface(p, hit.normal));
}

// The light that a white diffuse surface reflects: light + through * (the light at `end`).
struct Path {
    light: vec3f,
    through: vec3f,
    end: Surface,
}

// Follows a path for a number of bounces. Each surface before the end adds the lamp's light by a shadow ray. A path
// that hits the lamp ends there and adds nothing, because the shadow ray has counted it.
fn follow(start: Surface, bounces: u32, row: u32, number: u32) -> Path {
    var path = Path(vec3f(0.0), vec3f(1.0), start);
    for (var bounce = 0u; bounce < bounces; bounce++) {
        let key = vec3u(row, number, bounce * 2u);
        path.light += path.through * lamp_light(path.end.p, path.end.normal, random(key).xy - 0.5);
        let u = random(key + vec3u(0u, 0u, 1u));
        let next = look(path.end.p, diffuse_direction(path.end.normal, u.xy));
        path.through *= next.albedo;
        path.end = next.surface;
        if all(path.through == vec3f(0.0)) {
            break;
        }
    }
    return path;
}

fn number(stream: u32) -> u32 {
    return frame.seed * 4u + stream;
}

fn look_through(point: vec2f) -> Seen {
    return look(frame.eye, camera_ray(frame.eye, frame.lens, frame.size, point));
}

// Number i of the network's input row for a surface: position from 0 to 1, and normal.
fn input_of(surface: Surface, i: u32) -> f32 {
    let p = 0.5 + 0.5 * surface.p;
    return array(p.x, p.y, p.z, surface.normal.x, surface.normal.y, surface.normal.z)[i];
}

fn ask(row: u32, surface: Surface, light: vec3f, through: vec3f) {
    known[row] = Known(vec4f(light, 0.0), vec4f(through, 0.0));
    for (var i = 0u; i < 6u; i++) {
        questions[row * 6u + i] = input_of(surface, i);
    }
}

fn answered(row: u32) -> vec3f {
    let answer = vec3f(answers[row * 3u], answers[row * 3u + 1u], answers[row * 3u + 2u]);
    return known[row].light.xyz + known[row].through.xyz * answer;
}

// Traces a short path through each pixel. Its last surface asks the network.
@compute @workgroup_size(8, 8)
fn trace_pixels(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.size) {
        return;
    }
    let pixel = id.y * frame.size.x + id.x;
    let seen = look_through(vec2f(id.xy) + 0.5);
    let path = follow(seen.surface, frame.bounces, pixel, number(PIXELS));
    let light = seen.emitted + seen.albedo * path.light;
    ask(frame.training_rows + pixel, path.end, light, seen.albedo * path.through);
}

// Traces a path from a surface of each training row. Even rows start at surfaces that the camera sees, odd rows at
// surfaces around a random point of the room.
@compute @workgroup_size(64)
fn trace_lessons(@builtin(global_invocation_id) id: vec3u) {
    let row = id.x;
    if row >= frame.training_rows {
        return;
    }
    // A ray that meets the lamp or leaves the room is replaced by one from a random point of the room, then by that ray
    // turned back.
    let at = random(vec3u(row, number(STARTS), 0u)).xy * vec2f(frame.size);
    let inside = 1.98 * random(vec3u(row, number(STARTS), 1u)) - 0.99;
    var direction = uniform_direction(random(vec3u(row, number(STARTS), 2u)).xy);
    var seen: Seen;
    for (var i = row % 2u; i < 3u; i++) {
        if i == 0u {
            seen = look_through(at);
        } else {
            seen = look(inside, direction);
            direction = -direction;
        }
        if any(seen.albedo > vec3f(0.0)) {
            break;
        }
    }
    for (var i = 0u; i < 6u; i++) {
        lessons[row * 6u + i] = input_of(seen.surface, i);
    }
    let path = follow(seen.surface, TAIL, row, number(LESSONS));
    ask(row, path.end, path.light, path.through);
}

// The targets: the light of the training paths. What is beyond their ends comes from the network itself.
@compute @workgroup_size(64)
fn teach(@builtin(global_invocation_id) id: vec3u) {
    if id.x < frame.training_rows {
        let light = answered(id.x);
        for (var i = 0u; i < 3u; i++) {
            targets[id.x * 3u + i] = light[i];
        }
    }
}

fn add(pixel: u32, radiance: vec3f) {
    sums[pixel] += vec4f(radiance, 1.0);
    squares[pixel] += vec4f(radiance * radiance, 1.0);
}

// The image with the network.
@compute @workgroup_size(8, 8)
fn shade(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.size) {
        return;
    }
    let pixel = id.y * frame.size.x + id.x;
    let radiance = answered(frame.training_rows + pixel);
    image[pixel] = vec4f(radiance, 1.0);
    add(pixel, radiance);
}

// The image without the network.
@compute @workgroup_size(8, 8)
fn trace_plain(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.size) {
        return;
    }
    let pixel = id.y * frame.size.x + id.x;
    let seen = look_through(vec2f(id.xy) + 0.5);
    for (var i = 0u; i < frame.samples; i++) {
        var radiance = seen.emitted;
        if any(seen.albedo > vec3f(0.0)) {
            let sample = frame.seed * frame.samples + i;
            radiance = seen.albedo * follow(seen.surface, LONGEST, pixel, sample * 4u + PLAIN).light;
        }
        image[pixel] = vec4f(radiance, 1.0);
        add(pixel, radiance);
    }
}

// The display.
@group(0) @binding(9) var<storage, read> shown: array<vec4f>; // [pixels], radiance and w, its divisor
@group(0) @binding(10) var<storage, read> shown_beside: array<vec4f>;
@group(0) @binding(11) var<storage, read_write> picture: array<u32>; // red, green, blue

@compute @workgroup_size(8, 8)
fn show(@builtin(global_invocation_id) id: vec3u) {
    if all(id.xy < frame.size) {
        let pixel = id.y * frame.size.x + id.x;
        picture[pixel] = pack4x8unorm(vec4f(display(shown[pixel].xyz / shown[pixel].w), 1.0));
    }
}

// Window mode: the left half of the image is plain path tracing, the right half has the network.
@fragment
fn compare(@builtin(position) position: vec4f) -> @location(0) vec4f {
    if is_border(position.xy, vec2f(frame.window)) {
        return BORDER;
    }
    let at = place_in_image(position.xy, vec2f(frame.window));
    let place = vec2u(at * vec2f(frame.size));
    let pixel = place.y * frame.size.x + place.x;
    return vec4f(display(select(shown_beside[pixel].xyz, shown[pixel].xyz, at.x < 0.5)), 1.0);
}
