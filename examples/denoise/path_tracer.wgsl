// The app's renderer: a path tracer of the room in `common/room.wgsl`. It does not depend on the network.

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

const BOUNCES = 6u;

struct Sample {
    colour: vec3f, // radiance
    albedo: vec3f, // of the first diffuse surface on the path, times that of mirrors before it
    normal: vec3f, // of that surface
    position: vec3f, // of that surface
}

// Traces a path, with a shadow ray to the lamp at each diffuse surface. After a diffuse surface, a path that hits the
// lamp adds nothing, because the shadow ray has counted it. There are no caustics.
fn trace(pixel: vec2u, number: u32) -> Sample {
    var p = frame.eye;
    var direction = camera_ray(frame.eye, frame.lens, frame.size, vec2f(pixel) + 0.5);
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
        seen.colour += through * lamp_light(p, hit.normal, random(key).xy - 0.5);
        direction = diffuse_direction(hit.normal, random(key + vec3u(0u, 0u, 1u)).xy);
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
