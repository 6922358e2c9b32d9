// The app's passes that read the compressed material: its texels for a comparison, and a lit plane. The host puts
// `pyramid.wgsl` and the network `decoder` in front.

struct View {
    centre: vec2f, // of the image, on the material, which is 1 wide
    height: f32,   // of the image, on the material
    tilt: f32,     // of the plane: 0 is seen from above; with 1 the horizon is at the upper edge
    size: vec2f,   // of the image, in pixels
    split: f32,    // pixels left of it show the original textures
    lod: f32,      // level that `decode` reads
}

@group(0) @binding(2) var<storage, read> view: View;
@group(0) @binding(3) var albedo: texture_2d<f32>;
@group(0) @binding(4) var normal: texture_2d<f32>;
@group(0) @binding(5) var surface: texture_2d<f32>; // occlusion, roughness, height
@group(0) @binding(6) var smooth_sampler: sampler;
@group(0) @binding(7) var<storage, read_write> texels: array<u32>; // [size * size, 3], three bytes in a word

struct Texel {
    albedo: vec3f,
    normal: vec3f,
    surface: vec3f,
}

fn original(place: vec2f, lod: f32) -> Texel {
    return Texel(
        textureSampleLevel(albedo, smooth_sampler, place, lod).rgb,
        textureSampleLevel(normal, smooth_sampler, place, lod).rgb,
        textureSampleLevel(surface, smooth_sampler, place, lod).rgb,
    );
}

fn compressed(place: vec2f, lod: f32) -> Texel {
    let c = decoder(features(fract(place), clamp(lod, 0.0, log2(f32(SIZE)))));
    return Texel(vec3f(c[0], c[1], c[2]), vec3f(c[3], c[4], c[5]), vec3f(c[6], c[7], c[8]));
}

fn bytes(values: vec3f) -> u32 {
    return pack4x8unorm(vec4f(values, 0.0));
}

// The texels of a mip level, row by row.
@compute @workgroup_size(64)
fn decode(@builtin(global_invocation_id) id: vec3u) {
    let side = SIZE >> u32(view.lod);
    if id.x >= side * side {
        return;
    }
    let texel = compressed((vec2f(vec2u(id.x % side, id.x / side)) + 0.5) / f32(side), view.lod);
    texels[id.x * 3u] = bytes(texel.albedo);
    texels[id.x * 3u + 1u] = bytes(texel.normal);
    texels[id.x * 3u + 2u] = bytes(texel.surface);
}

// The place on the material that a pixel shows.
fn place_of(pixel: vec2f) -> vec2f {
    let at = (pixel - 0.5 * view.size) / view.size.y;
    return view.centre + view.height * at / (1.0 + 2.0 * view.tilt * at.y);
}

fn to_light(srgb: vec3f) -> vec3f {
    return pow(max(srgb, vec3f(0.0)), vec3f(2.2));
}

@fragment
fn shade(@builtin(position) position: vec4f) -> @location(0) vec4f {
    let place = place_of(position.xy);
    let across = length(place_of(position.xy + vec2f(1.0, 0.0)) - place);
    let along = length(place_of(position.xy + vec2f(0.0, 1.0)) - place);
    let lod = log2(max(across, along) * f32(SIZE));
    var texel: Texel;
    if position.x < view.split {
        texel = original(place, lod);
    } else {
        texel = compressed(place, lod);
    }
    // Lambert and Blinn-Phong, for a light at the upper left and an eye above.
    let n = normalize(2.0 * texel.normal - 1.0);
    let light = normalize(vec3f(-0.5, -0.6, 0.75));
    let shine = exp2(10.0 * (1.0 - texel.surface.y) + 1.0);
    let gloss = 0.04 * (shine + 2.0) / 8.0 * pow(max(dot(n, normalize(light + vec3f(0.0, 0.0, 1.0))), 0.0), shine);
    let diffuse = to_light(texel.albedo) * (2.2 * max(dot(n, light), 0.0) + 0.5 * texel.surface.x);
    return vec4f(pow(diffuse + gloss, vec3f(1.0 / 2.2)), 1.0);
}
