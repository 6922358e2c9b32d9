// The app's own passes: they write the positions for the network, and copy its colours to the screen buffer.
// The screen consists of 64 lattices. A lattice is every 8th pixel in both directions. A frame computes some of the
// lattices.

struct View {
    corner: vec2f, // of the window, in image coordinates; the image is 1 wide and 1 high
    pixel: vec2f,  // size of a window pixel, in image coordinates
    size: vec2u,   // of the window, in pixels
    fresh: u32,    // 1 until every lattice has been computed once
}

@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read_write> places: array<vec2f>; // the network's input
@group(0) @binding(2) var<storage, read> colours: array<f32>;        // the network's output
@group(0) @binding(3) var<storage, read_write> screen: array<u32>;
@group(0) @binding(4) var<uniform> lattice: u32;

// Offset of a lattice. Each lattice is halfway between earlier ones, so that a coarse image appears soon.
fn lattice_offset() -> vec2u {
    let bits = (vec2u(lattice) >> vec2u(0u, 1u)) & vec2u(0x15u);
    return ((bits & vec2u(1u)) << vec2u(2u)) | ((bits & vec2u(4u)) >> vec2u(1u)) | ((bits & vec2u(16u)) >> vec2u(4u));
}

fn pixel_of(i: u32) -> vec2u {
    let across = (view.size.x + 7u) / 8u;
    return lattice_offset() + 8u * vec2u(i % across, i / across);
}

fn place_of(pixel: vec2u) -> vec2f {
    return view.corner + (vec2f(pixel) + 0.5) * view.pixel;
}

@compute @workgroup_size(64)
fn ask(@builtin(global_invocation_id) id: vec3u) {
    if id.x < arrayLength(&places) {
        places[id.x] = place_of(pixel_of(id.x));
    }
}

@compute @workgroup_size(64)
fn show(@builtin(global_invocation_id) id: vec3u) {
    let pixel = pixel_of(id.x);
    if id.x >= arrayLength(&places) || any(pixel >= view.size) {
        return;
    }
    let place = place_of(pixel);
    let first = id.x * 3u;
    var colour = vec3f(colours[first], colours[first + 1u], colours[first + 2u]);
    if any(place < vec2f(0.0)) || any(place >= vec2f(1.0)) {
        colour = vec3f(0.1);
    }
    // After a change of the view, the first lattices also fill their neighbours.
    var block = 1u;
    if view.fresh != 0u {
        block = select(select(select(1u, 2u, lattice < 16u), 4u, lattice < 4u), 8u, lattice < 1u);
    }
    let packed = pack4x8unorm(vec4f(colour, 1.0));
    let end = min(pixel + block, view.size);
    for (var y = pixel.y; y < end.y; y++) {
        for (var x = pixel.x; x < end.x; x++) {
            screen[y * view.size.x + x] = packed;
        }
    }
}

// One triangle that covers the window.
@vertex
fn corners(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
    return vec4f(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

@group(0) @binding(5) var<storage, read> shown: array<u32>;

@fragment
fn colour(@builtin(position) position: vec4f) -> @location(0) vec4f {
    let pixel = min(vec2u(position.xy), view.size - 1u);
    return unpack4x8unorm(shown[pixel.y * view.size.x + pixel.x]);
}
