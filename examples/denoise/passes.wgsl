// The app's other passes: features and targets of the network, the à-trous filter for comparison, and the display.

@group(0) @binding(5) var colour_in: texture_2d<f32>;
@group(0) @binding(6) var albedo_in: texture_2d<f32>;
@group(0) @binding(7) var normal_in: texture_2d<f32>;
@group(0) @binding(18) var position_in: texture_2d<f32>;
@group(0) @binding(8) var<storage, read_write> features: array<f32>; // [frames, height, width, 16]
@group(0) @binding(9) var<storage, read_write> targets: array<f32>; // [frames, height, width, 3]
@group(0) @binding(10) var<storage, read> log_radiance: array<f32>; // output of the network, [height, width, 3]
@group(0) @binding(11) var<storage, read> filter_in: array<vec4f>; // [height, width]
@group(0) @binding(16) var<storage, read> filtered_more: array<vec4f>; // light at a higher filter level
@group(0) @binding(12) var<storage, read_write> filter_out: array<vec4f>;
@group(0) @binding(13) var<storage, read> level: Level;
@group(0) @binding(14) var<storage, read_write> picture: array<u32>; // red, green, blue
@group(0) @binding(15) var<storage, read> means: array<vec4f>; // `sums` of the path tracer, read-only

const KEPT = 8u; // number of stored frames, from which crops are taken

fn albedo_at(pixel: vec2u) -> vec3f {
    return max(textureLoad(albedo_in, pixel, 0).xyz, vec3f(0.01));
}

// Radiance divided by the albedo. Only this light is filtered, so textures stay sharp.
fn light_at(pixel: vec2u) -> vec3f {
    return textureLoad(colour_in, pixel, 0).xyz / albedo_at(pixel);
}

// The 16 features of a pixel: logarithms of the filtered radiance, of the light at a higher filter level and of the
// albedo; normal and position; and the logarithm of the unfiltered light's luminance.
fn write_features(place: u32, pixel: vec2u) {
    let albedo = albedo_at(pixel);
    let at = pixel.y * frame.size.x + pixel.x;
    let light = dot(light_at(pixel), vec3f(0.2126, 0.7152, 0.0722));
    let pixel_features = array(
        log(max(filter_in[at].xyz * albedo, vec3f(1e-4))),
        log(1.0 + filtered_more[at].xyz),
        log(albedo),
        textureLoad(normal_in, pixel, 0).xyz,
        textureLoad(position_in, pixel, 0).xyz,
        vec3f(log(1.0 + light)),
    );
    for (var i = 0u; i < 16u; i++) {
        features[place * 16u + i] = pixel_features[i / 3u][i % 3u];
    }
}

// Writes the features of this frame, for denoising.
@compute @workgroup_size(8, 8)
fn take(@builtin(global_invocation_id) id: vec3u) {
    if all(id.xy < frame.size) {
        write_features(id.y * frame.size.x + id.x, id.xy);
    }
}

// Writes the features and targets of this frame, for training crops. It replaces the oldest stored frame.
@compute @workgroup_size(8, 8)
fn keep(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.size) {
        return;
    }
    let place = ((frame.seed % KEPT) * frame.size.y + id.y) * frame.size.x + id.x;
    write_features(place, id.xy);
    let sum = means[(frame.view * frame.size.y + id.y) * frame.size.x + id.x];
    for (var i = 0u; i < 3u; i++) {
        targets[place * 3u + i] = sum[i] / sum.w;
    }
}

// Parameters of the edge-avoiding à-trous wavelet filter (Dammertz et al., 2010). It filters light without albedo.
struct Level {
    step: i32,
    colour: f32, // this and the next three: 1 / (allowed difference between two similar pixels)^2
    normal: f32,
    albedo: f32,
    position: f32,
}

@compute @workgroup_size(8, 8)
fn take_light(@builtin(global_invocation_id) id: vec3u) {
    if all(id.xy < frame.size) {
        filter_out[id.y * frame.size.x + id.x] = vec4f(light_at(id.xy), 0.0);
    }
}

@compute @workgroup_size(8, 8)
fn a_trous(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= frame.size) {
        return;
    }
    let size = vec2i(frame.size);
    let here = filter_in[id.y * frame.size.x + id.x].xyz;
    let normal = textureLoad(normal_in, id.xy, 0).xyz;
    let position = textureLoad(position_in, id.xy, 0).xyz;
    let albedo = albedo_at(id.xy);
    var sum = vec4f(0.0);
    for (var i = 0; i < 25; i++) {
        let by = vec2i(i % 5, i / 5) - 2;
        let at = vec2i(id.xy) + by * level.step;
        if any(at < vec2i(0)) || any(at >= size) {
            continue;
        }
        let there = filter_in[at.y * size.x + at.x].xyz;
        let colour_difference = log((1.0 + there) / (1.0 + here));
        let normal_difference = textureLoad(normal_in, at, 0).xyz - normal;
        let albedo_difference = albedo_at(vec2u(at)) - albedo;
        let position_difference = textureLoad(position_in, at, 0).xyz - position;
        let squares = vec4f(
            dot(colour_difference, colour_difference),
            dot(normal_difference, normal_difference),
            dot(albedo_difference, albedo_difference),
            dot(position_difference, position_difference),
        );
        let distance = dot(squares, vec4f(level.colour, level.normal, level.albedo, level.position));
        // Weights of the cubic spline: 3/8, 1/4, 1/16.
        let spline = vec3f(0.375, 0.25, 0.0625);
        sum += vec4f(there, 1.0) * (spline[abs(by.x)] * spline[abs(by.y)] * exp(-distance));
    }
    filter_out[id.y * frame.size.x + id.x] = vec4f(sum.xyz / sum.w, 0.0);
}

fn denoised_at(pixel: vec2u) -> vec3f {
    let place = (pixel.y * frame.size.x + pixel.x) * 3u;
    return exp(vec3f(log_radiance[place], log_radiance[place + 1u], log_radiance[place + 2u]));
}

fn put(pixel: vec2u, radiance: vec3f) {
    if all(pixel < frame.size) {
        picture[pixel.y * frame.size.x + pixel.x] = pack4x8unorm(vec4f(display(radiance), 1.0));
    }
}

@compute @workgroup_size(8, 8)
fn show_noisy(@builtin(global_invocation_id) id: vec3u) {
    put(id.xy, textureLoad(colour_in, id.xy, 0).xyz);
}

@compute @workgroup_size(8, 8)
fn show_filtered(@builtin(global_invocation_id) id: vec3u) {
    put(id.xy, filter_in[id.y * frame.size.x + id.x].xyz * albedo_at(id.xy));
}

@compute @workgroup_size(8, 8)
fn show_denoised(@builtin(global_invocation_id) id: vec3u) {
    put(id.xy, denoised_at(id.xy));
}

@compute @workgroup_size(8, 8)
fn show_mean(@builtin(global_invocation_id) id: vec3u) {
    let sum = means[(frame.view * frame.size.y + id.y) * frame.size.x + id.x];
    put(id.xy, sum.xyz / sum.w);
}

// Window mode: the left half of the image is noisy, the right half denoised.
@fragment
fn compare(@builtin(position) position: vec4f) -> @location(0) vec4f {
    if is_border(position.xy, vec2f(frame.window)) {
        return BORDER;
    }
    let at = place_in_image(position.xy, vec2f(frame.window));
    let pixel = vec2u(at * vec2f(frame.size));
    if at.x < 0.5 {
        return vec4f(display(textureLoad(colour_in, pixel, 0).xyz), 1.0);
    }
    return vec4f(display(denoised_at(pixel)), 1.0);
}
