//! Tests networks inside an app's own shaders.

mod common;
#[path = "wgsl/gradient.rs"]
mod gradient;
#[path = "../examples/common/passes.rs"]
mod passes;

use common::*;
use wgrad::Activation::{
    Exponential, GeluErf, Identity, LeakyRelu, Relu, Sigmoid, Silu, Sine, Softmax, Squareplus, Tanh,
};
use wgrad::wgpu::{self, util::DeviceExt};
use wgrad::{Device, Encoding, Gpu, GridInterpolation, GridStorage, HashGrid, Model, Network, NetworkBuilder};

const ROWS: u32 = 70;

/// Runs an app's own dispatch over ROWS rows. `shader` reads `input` and writes `output`, both in group 0. It calls
/// the functions of the models, whose weights are in group 1.
fn run(gpu: &Gpu, models: &[(&Model, &str)], shader: &str, input: &[f32], outputs: u32) -> Vec<f32> {
    let device = gpu.device();
    let [input, output] = [storage(gpu, input), storage(gpu, &vec![f32::NAN; (ROWS * outputs) as usize])];

    let functions = |(binding, (model, name)): (u32, &(&Model, &str))| model.wgsl(name).unwrap().bound_at(1, binding);
    let functions: Vec<_> = (0..).zip(models).map(functions).collect();
    let text: String = functions.iter().map(ToString::to_string).collect();
    let source = format!(
        "{text}
        @group(0) @binding(0) var<storage, read> input: array<f32>;
        @group(0) @binding(1) var<storage, read_write> output: array<f32>;
        @compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3u) {{
            let row = id.x;
            if row >= {ROWS}u {{ return; }}
            {shader}
        }}"
    );
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let entry = |(binding, ty)| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty,
        count: None,
    };
    let of_storage = |read_only| wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Storage { read_only },
        has_dynamic_offset: false,
        min_binding_size: None,
    };
    let own = (0..).zip([of_storage(true), of_storage(false)]).map(entry).collect::<Vec<_>>();
    let weights = (0..).zip(functions.iter().map(wgrad::Wgsl::binding_type)).map(entry).collect::<Vec<_>>();
    let layouts = [own, weights].map(|entries| {
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
    });
    let group = |layout: usize, buffers: &[&wgpu::Buffer]| {
        let bindings = (0..).zip(buffers).map(|(binding, buffer)| (binding, buffer.as_entire_binding()));
        let entries: Vec<_> = bindings.map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        let layout = &layouts[layout];
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    };
    let own = group(0, &[&input, &output]);
    let buffers: Vec<_> = models.iter().map(|(model, _)| model.parameter_buffer().unwrap()).collect();
    let weights = group(1, &buffers);
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&layouts[0]), Some(&layouts[1])],
        ..Default::default()
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: Some(&layout),
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &own, &[]);
        pass.set_bind_group(1, &weights, &[]);
        pass.dispatch_workgroups(ROWS.div_ceil(32), 1, 1);
    }
    read(gpu, encoder, &output)
}

fn storage(gpu: &Gpu, contents: &[f32]) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let contents = bytemuck::cast_slice(contents);
    gpu.device().create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
}

/// Submits the encoder, waits, and reads a buffer.
fn read(gpu: &Gpu, mut encoder: wgpu::CommandEncoder, buffer: &wgpu::Buffer) -> Vec<f32> {
    let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: buffer.size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
    gpu.queue().submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap())
}

fn model(device: impl Into<Device>, network: &Network) -> Model {
    let mut weights = network.initial_parameters(4);
    let mut random = Random(5);
    for bias in network.parameters().iter().filter(|p| p.shape.len() == 1) {
        weights[bias.range()].fill_with(|| random.f32());
    }
    Model::new(device, network, &weights).unwrap()
}

/// Both sides add the same terms in different orders. The outputs are about 1, from about 40 terms in each layer.
fn assert_close(actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len());
    for (i, (a, b)) in actual.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "output {i}: {a}, by the model {b}");
    }
}

/// Two networks in one shader must agree with their models.
#[test]
fn two_networks_in_one_shader_of_an_app_agree_with_their_models() {
    let colour = Network::input(3).dense(16, Relu).dense(13, GeluErf).dense(3, Sigmoid).build().unwrap();
    let height = Network::input(2).dense(8, Sine(3.0)).dense(8, Squareplus(0.04)).dense(1, Exponential);
    let height = height.build().unwrap();
    let (colour, height) = (model(gpu(), &colour), model(gpu(), &height));
    let input = Random(9).f32s(3 * ROWS as usize);
    let shader = "
        let at = vec3f(input[row * 3u], input[row * 3u + 1u], input[row * 3u + 2u]);
        let rgb = colour(at);
        output[row * 4u] = rgb.x;
        output[row * 4u + 1u] = rgb.y;
        output[row * 4u + 2u] = rgb.z;
        output[row * 4u + 3u] = height(at.xy);";
    let actual = run(gpu(), &[(&colour, "colour"), (&height, "height")], shader, &input, 4);
    let of_height: Vec<f32> = input.chunks(3).flat_map(|at| [at[0], at[1]]).collect();
    let (rgb, height) = (colour.forward(&input).unwrap(), height.forward(&of_height).unwrap());
    let expected: Vec<f32> = rgb.chunks(3).zip(&height).flat_map(|(rgb, h)| [rgb[0], rgb[1], rgb[2], *h]).collect();
    assert_close(&actual, &expected);
}

/// Wide inputs and outputs must be arrays. Equal layers must become a loop.
#[test]
fn wide_rows_come_and_go_as_arrays_and_layers_alike_are_a_loop() {
    let network = (0..4).fold(Network::input(5), |net, _| net.dense(12, Silu).dropout(0.3));
    let network = network.dense(12, LeakyRelu(0.3)).dense(12, LeakyRelu(0.3)).dense(7, Softmax).build().unwrap();
    let model = model(gpu(), &network);
    let text = model.wgsl("f").unwrap().to_string();
    assert!(text.contains("fn f(input: array<f32, 5>) -> array<f32, 7>") && text.contains("layer < 3u"), "{text}");
    let input = Random(9).f32s(5 * ROWS as usize);
    let shader = "
        var x: array<f32, 5>;
        for (var i = 0u; i < 5u; i++) { x[i] = input[row * 5u + i]; }
        let y = f(x);
        for (var i = 0u; i < 7u; i++) { output[row * 7u + i] = y[i]; }";
    assert_close(&run(gpu(), &[(&model, "f")], shader, &input, 7), &model.forward(&input).unwrap());
}

/// Layers of more than 16 inputs are loops. An iteration takes 1 input from 32 to 32 and from 18 to 32, and 4 inputs in
/// the other layers. Inputs are left over after the loop of 35.
#[test]
fn layers_of_many_inputs_are_loops_over_their_inputs() {
    let network = Network::input(35).dense(32, Silu).dense(32, Tanh).dense(18, Silu).dense(32, Tanh);
    let network = network.dense(3, Identity).build().unwrap();
    let model = model(gpu(), &network);
    let text = model.wgsl("f").unwrap().to_string();
    for looped in ["i < 32u; i += 1u", "i < 18u; i += 1u", "i < 32u; i += 4u"] {
        assert!(text.contains(looped), "{looped}: {text}");
    }
    let input = Random(9).f32s(35 * ROWS as usize);
    let shader = "
        var x: array<f32, 35>;
        for (var i = 0u; i < 35u; i++) { x[i] = input[row * 35u + i]; }
        let y = f(x);
        for (var i = 0u; i < 3u; i++) { output[row * 3u + i] = y[i]; }";
    assert_close(&run(gpu(), &[(&model, "f")], shader, &input, 3), &model.forward(&input).unwrap());
}

/// More weights than a uniform buffer may hold must be read from storage. The layers are few and small enough for the
/// driver's compiler.
#[test]
fn many_weights_are_read_from_storage() {
    let network = (0..140).fold(Network::input(1).dense(8, Tanh), |net, _| net.dense(8, Tanh));
    let network = network.dense(1, Identity).build().unwrap();
    assert!(network.parameter_words() > 1 << 14);
    let model = model(gpu(), &network);
    assert!(model.wgsl("deep").unwrap().to_string().contains("var<storage, read> deep_parameters"));
    let input = Random(9).f32s(ROWS as usize);
    let actual = run(gpu(), &[(&model, "deep")], "output[row] = deep(input[row]);", &input, 1);
    assert!(actual.iter().all(|y| y.is_finite()));
    assert_close(&actual, &model.forward(&input).unwrap());
}

/// Compares a network behind encodings with its model on the CPU. Layers of whole vectors (8 units) and of others
/// (7 units) take an encoding's numbers in different ways. The encodings differ from the CPU's by the driver's rounding,
/// 1e-6 of their values. The table's entries are about 1.
fn check_encoded(inputs: u32, encodings: &[Encoding], units: u32) {
    let network = encodings.iter().fold(Network::input(inputs), |network, &encoding| network.encoding(encoding));
    let network = network.dense(units, Tanh).dense(units, Tanh).dense(2, Identity).build().unwrap();
    let mut weights = network.initial_parameters(4);
    let mut random = Random(5);
    let tables = network.parameters().iter().filter(|parameter| parameter.name.contains("hash_grid"));
    tables.for_each(|table| weights[table.range()].fill_with(|| random.f32()));
    let model = Model::new(gpu(), &network, &weights).unwrap();
    // Points inside the unit cube, where the grid is, and around it.
    let input: Vec<f32> = random.f32s((ROWS * inputs) as usize).iter().map(|x| 0.5 + 0.6 * x).collect();
    let ty = match inputs {
        1 => "f32".to_owned(),
        2..=4 => format!("vec{inputs}f"),
        _ => format!("array<f32, {inputs}>"),
    };
    let x: Vec<String> = (0..inputs).map(|i| format!("input[row * {inputs}u + {i}u]")).collect();
    let shader = format!(
        "let y = f({ty}({}));
        output[row * 2u] = y.x;
        output[row * 2u + 1u] = y.y;",
        x.join(", ")
    );
    let actual = run(gpu(), &[(&model, "f")], &shader, &input, 2);
    let expected = Model::new(Device::Cpu, &network, &weights).unwrap().forward(&input).unwrap();
    // The encoded features must make the rows differ.
    assert!(expected.chunks(2).all(|y| y[0] != 0.0) && expected[0] != expected[2], "{encodings:?}");
    assert_close(&actual, &expected);
}

#[test]
fn every_encoding_is_evaluated_in_front_of_the_layers() {
    let grid = HashGrid { levels: 5, log2_hashmap_size: 8, base_resolution: 4, ..HashGrid::default() };
    check_encoded(3, &[Encoding::Identity { scale: -0.5, offset: 0.25 }], 7);
    check_encoded(1, &[Encoding::Frequency { frequencies: 5 }], 8);
    check_encoded(2, &[Encoding::TriangleWave { frequencies: 6 }], 8);
    check_encoded(2, &[Encoding::TriangleWave { frequencies: 5 }], 7);
    check_encoded(5, &[Encoding::OneBlob { bins: 16 }], 7);
    for (degree, units) in [(2, 8), (3, 7), (8, 8)] {
        check_encoded(3, &[Encoding::SphericalHarmonics { degree }], units);
    }
    check_encoded(2, &[Encoding::TriangleWave { frequencies: 3 }, Encoding::SphericalHarmonics { degree: 3 }], 7);
    for (dimensions, features_per_level, units) in
        [(1, 2, 7), (2, 1, 8), (2, 1, 7), (2, 2, 8), (3, 2, 7), (3, 4, 8), (4, 1, 7)]
    {
        check_encoded(dimensions, &[HashGrid { features_per_level, ..grid }.into()], units);
    }
    let smooth = HashGrid { interpolation: GridInterpolation::Smoothstep, features_per_level: 8, levels: 3, ..grid };
    check_encoded(2, &[smooth.into()], 7);
    check_encoded(3, &[HashGrid { storage: GridStorage::Tiled, ..grid }.into()], 8);
    check_encoded(
        2,
        &[HashGrid { storage: GridStorage::Dense, levels: 3, ..smooth }.into(), Encoding::OneBlob { bins: 2 }],
        8,
    );
}

/// A composite encoding has features that do not begin at multiples of four, and grids that do.
#[test]
fn composite_encodings_are_evaluated_in_front_of_the_layers() {
    let grid = HashGrid { levels: 3, log2_hashmap_size: 8, base_resolution: 4, ..HashGrid::default() };
    let wide = HashGrid { features_per_level: 8, levels: 2, ..grid };
    let harmonics = Encoding::SphericalHarmonics { degree: 3 };
    let lists: [&[(u32, Encoding)]; 3] = [
        &[(2, wide.into()), (3, harmonics), (1, HashGrid { features_per_level: 1, ..grid }.into())],
        &[(3, harmonics), (2, grid.into()), (1, wide.into())],
        &[(1, Encoding::Frequency { frequencies: 2 }), (5, Encoding::OneBlob { bins: 3 })],
    ];
    for parts in lists {
        let network = Network::input(6).composite_encoding(parts.to_vec());
        let network = network.dense(16, Tanh).dense(2, Identity).build().unwrap();
        let mut weights = network.initial_parameters(4);
        let mut random = Random(5);
        let tables = network.parameters().iter().filter(|parameter| parameter.name.contains("table"));
        tables.for_each(|table| weights[table.range()].fill_with(|| random.f32()));
        let model = Model::new(gpu(), &network, &weights).unwrap();
        let input: Vec<f32> = random.f32s(6 * ROWS as usize).iter().map(|x| 0.5 + 0.5 * x).collect();
        let shader = "
            var x: array<f32, 6>;
            for (var i = 0u; i < 6u; i++) { x[i] = input[row * 6u + i]; }
            let y = f(x);
            output[row * 2u] = y.x;
            output[row * 2u + 1u] = y.y;";
        let on_cpu = Model::new(Device::Cpu, &network, &weights).unwrap();
        assert_close(&run(gpu(), &[(&model, "f")], shader, &input, 2), &on_cpu.forward(&input).unwrap());
    }
}

/// Encodings may be wider than any layer, because the result is not stored. An encoding may read another encoding's
/// output.
#[test]
fn encodings_may_be_wide_and_follow_each_other() {
    let grid = HashGrid { levels: 3, log2_hashmap_size: 8, base_resolution: 4, ..HashGrid::default() };
    check_encoded(3, &[Encoding::Frequency { frequencies: 12 }], 8);
    check_encoded(3, &[Encoding::Identity { scale: 0.5, offset: 0.5 }, grid.into()], 7);
    check_encoded(
        1,
        &[Encoding::Frequency { frequencies: 2 }, Encoding::Identity { scale: 0.5, offset: 0.5 }, grid.into()],
        8,
    );
    check_encoded(2, &[grid.into(), Encoding::OneBlob { bins: 3 }], 7);
}

/// A fragment shader must evaluate the network of `examples/learn_an_image`. It writes a texture of four floats a
/// texel, which the test reads back. The grid suits a picture of 512 pixels, and its table exceeds a uniform buffer.
#[test]
fn a_fragment_shader_evaluates_the_network_of_learn_an_image() {
    const SIDE: u32 = 16; // a row of texels is 256 bytes
    let grid = HashGrid { levels: 10, log2_hashmap_size: 15, ..HashGrid::default() }.up_to(512);
    let network = (0..4).fold(Network::input(2).encoding(grid), |network, _| network.dense(64, Relu));
    let network = network.dense(3, Identity).build().unwrap();
    let mut weights = network.initial_parameters(4);
    let mut random = Random(5);
    weights[network.parameters()[0].range()].fill_with(|| random.f32());
    let gpu = gpu();
    let device = gpu.device();
    let model = Model::new(gpu, &network, &weights).unwrap();
    let function = model.wgsl("picture").unwrap();
    let source = format!(
        "{function}
        @vertex fn corners(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {{
            return vec4f(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
        }}
        @fragment fn colour(@builtin(position) at: vec4f) -> @location(0) vec4f {{
            return vec4f(picture(at.xy / {SIDE}.0), 1.0);
        }}"
    );
    let source = wgpu::ShaderSource::Wgsl(source.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let format = wgpu::TextureFormat::Rgba32Float;
    let pipeline = passes::fullscreen_pipeline(device, None, &module, "colour", format);
    let resource = model.parameter_buffer().unwrap().as_entire_binding();
    let group = passes::bind_group(device, &pipeline.get_bind_group_layout(0), &[(0, resource)]);
    let size = wgpu::Extent3d { width: SIDE, height: SIDE, depth_or_array_layers: 1 };
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    });
    let view = texture.create_view(&Default::default());
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let ops = wgpu::Operations::default();
        let colour = wgpu::RenderPassColorAttachment { view: &view, depth_slice: None, resolve_target: None, ops };
        let color_attachments = &[Some(colour)];
        let mut pass =
            encoder.begin_render_pass(&wgpu::RenderPassDescriptor { color_attachments, ..Default::default() });
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.draw(0..3, 0..1);
    }
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: u64::from(SIDE * SIDE * 16),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(SIDE * 16), rows_per_image: None };
    encoder.copy_texture_to_buffer(
        texture.as_image_copy(),
        wgpu::TexelCopyBufferInfo { buffer: &staging, layout },
        size,
    );
    gpu.queue().submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let texels: Vec<[f32; 4]> = bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap());

    let middle = |i: u32| (i as f32 + 0.5) / SIDE as f32;
    let places: Vec<f32> = (0..SIDE).flat_map(|y| (0..SIDE).flat_map(move |x| [middle(x), middle(y)])).collect();
    let on_cpu = Model::new(Device::Cpu, &network, &weights).unwrap();
    let actual: Vec<f32> = texels.iter().flat_map(|texel| texel[..3].to_vec()).collect();
    assert_close(&actual, &on_cpu.forward(&places).unwrap());
}

/// Networks and names that WGSL functions cannot have must return an error that names the fault.
#[test]
fn what_a_function_cannot_be_is_refused_by_name() {
    let fault = |network: NetworkBuilder, name: &str| {
        model(Device::Cpu, &network.build().unwrap()).wgsl(name).unwrap_err().to_string()
    };
    assert_eq!(
        fault(Network::input(2).dense(65, Relu).dense(1, Relu), "f"),
        "layer dense_1 of a WGSL function: expected at most 64 inputs and outputs, got 2 inputs and 65 outputs"
    );
    assert_eq!(
        fault(Network::input(2).dense(5, Relu).layer_norm(), "f"),
        "layer layer_norm_2 of a WGSL function: expected a dense layer, an activation after a dense layer without one, \
         or an encoding before all others, got a layer_norm layer"
    );
    assert!(
        fault(Network::input([4, 2]).dense(5, Relu), "f").ends_with("got a dense layer of several positions, [4, 5]")
    );
    let grid = HashGrid::default();
    assert!(fault(Network::input(2).dense(2, Relu).encoding(grid), "f").contains("layer hash_grid_2"));
    assert_eq!(
        fault(Network::input(2).encoding(grid), "f"),
        "network of a WGSL function: expected a dense layer after its encodings, got none"
    );
    assert_eq!(
        fault(Network::input(2).dense(5, Relu), "2f"),
        "name of a WGSL function must be a letter, then letters, digits and underscores, got \"2f\""
    );
    for name in ["_", "__x", "_x", "a-b", "", "naïve"] {
        assert!(fault(Network::input(2).dense(5, Relu), name).contains("digits and underscores, got"), "{name}");
    }
    // Keywords, reserved words, types, values, functions.
    let taken =
        ["fn", "let", "loop", "true", "class", "async", "vec4", "vec4f", "array", "f32", "storage", "read", "tanh"];
    for name in taken {
        assert_eq!(
            fault(Network::input(2).dense(5, Relu), name),
            format!(
                "name of a WGSL function must be other than a keyword, reserved word or built-in of WGSL, got \
                 \"{name}\""
            )
        );
    }
    // Other names in the generated text may be reused.
    let plain = model(Device::Cpu, &Network::input(2).dense(5, Identity).build().unwrap());
    for name in ["layer", "x", "sum", "input", "input_1", "encoded"] {
        assert!(plain.wgsl(name).is_ok(), "{name}");
    }
    let on_cpu = model(Device::Cpu, &Network::input(2).dense(5, Relu).build().unwrap());
    assert!(on_cpu.parameter_buffer().unwrap_err().to_string().contains("Model::parameter_buffer"));
}
