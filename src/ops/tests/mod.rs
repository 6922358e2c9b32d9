//! Checks of every shader text that can reach a device. They need no device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use naga::Module;
use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::*;
use crate::Wgsl;
use crate::kernel_sources::ADAPTERS;
use crate::network::Network;
use crate::plan::{NarrowNetwork, Plan, narrow};
use crate::texture_io::{FORMATS, from_texture, from_texture_crops, from_texture_random, to_texture};
use crate::{Activation, CustomActivation, CustomLoss, Encoding, GridInterpolation, GridStorage, HashGrid, Loss};
use plans::plans;

mod layouts;
#[path = "../../../tests/common/plans.rs"]
mod plans;
mod portability;

static OWN: CustomActivation = CustomActivation::new("snake", "z + sin(z) * sin(z)", "1.0 + sin(2.0 * z)");
static OWN_LOSS: CustomLoss = CustomLoss::new("log_cosh", "log(cosh(y - t))", "tanh(y - t)");

/// Activations of the library, and a custom one.
fn activations() -> impl Iterator<Item = Activation> {
    Activation::ALL.into_iter().chain([Activation::Custom(&OWN)])
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// All texts by name: texts of launches, and variants of matmuls and other ops that no plan here uses.
fn texts() -> BTreeMap<String, String> {
    let of_launches = launches().into_iter().map(|launch| launch.shader);
    let crops = [true, false].map(|texture| from_texture_crops(texture, vec![]));
    let of_textures = [from_texture(3), from_texture_random(3, 9)].into_iter().chain(crops);
    let of_matmuls = matmul_launches().into_iter().map(|launch| launch.shader);
    let mut texts = BTreeMap::new();
    for shader in of_launches.chain(of_textures).chain(of_matmuls) {
        let (name, text) = (shader.name.into_owned(), shader.source.into_owned());
        let names = std::iter::once(name.clone()).chain((2..).map(|i| format!("{name} {i}")));
        let mut free = names.filter(|name| texts.get(name).is_none_or(|known| *known == text));
        texts.insert(free.next().unwrap(), text);
    }
    for features in [1, 2, 4, 8] {
        texts.insert(format!("hash_grid {features}"), grid_source(features));
    }
    let encodings = [
        Encoding::Identity { scale: 1.0, offset: 0.0 },
        Encoding::Frequency { frequencies: 1 },
        Encoding::TriangleWave { frequencies: 1 },
        Encoding::OneBlob { bins: 1 },
        Encoding::SphericalHarmonics { degree: 1 },
    ];
    for encoding in encodings {
        texts.insert(format!("encoding {}", encoding.kind()), whole(encoding));
    }
    texts.insert("pointwise_loss own".into(), pointwise_loss(Loss::Custom(&OWN_LOSS), Activation::Identity));
    for activation in activations() {
        let op = Matmul { epilogue: Epilogue::Bias { bias: None, activation }, ..matmul(8, 8, 8, Layout::Nn) };
        let launch = op.launches(&hardware()).remove(0);
        texts.insert(format!("matmul {activation}"), launch.shader.source.into());
        texts.insert(format!("pointwise_loss {activation}"), pointwise_loss(Loss::MeanSquaredError, activation));
    }
    for (name, op) in narrow_ops() {
        texts.insert(format!("narrow {name}"), op.source());
        for (rows, lanes) in [(8, 8), (16, 8), (16, 16)] {
            texts.insert(format!("narrow.subgroup {name} {rows}x{lanes}"), op.subgroup_source(rows, lanes));
        }
    }
    texts.insert("functions of networks".into(), wgsl_functions());
    for (_, format) in FORMATS {
        let shader = to_texture(format, 3, 0, 3);
        texts.insert(shader.name.into(), shader.source.into());
    }
    texts
}

/// Matmuls in every layout, aligned and not aligned, with every epilogue, by every kernel that can compute them.
fn matmul_launches() -> Vec<Launch> {
    let tensor = |len: u32| Tensor::new(BufferId(0), Dtype::F32, len);
    let update = OptimizerStep {
        optimizer: crate::Adam::default().into(),
        parameters: tensor(64),
        moments: Some(tensor(128)),
        cursor: tensor(14),
        multipliers: None,
        absolute_decay: 0.0,
        averages: Averages::default(),
        clip: None,
        accumulates: false,
    };
    let bias = Epilogue::Bias { bias: Some(tensor(8)), activation: Activation::GeluErf };
    // With and without an addend.
    let ends = [(bias.clone(), false), (bias, true), (Epilogue::Update(Box::new(update)), false)];
    let tiles = [Tile::Square32, Tile::Square64, Tile::Plain, Tile::Panel, Tile::Sliding];
    let tiles = tiles.into_iter().chain([8, 64].map(|lanes| Tile::Vector { lanes }));
    let tiles = tiles.chain([Tile::Grouped { lanes: 64 }, Tile::Direct { quads: 1 }, Tile::Direct { quads: 2 }]);
    let tiles = tiles.chain([8, 16, 32, 64].map(|rows| Tile::Subgroup { rows }));
    let tiles = tiles.chain([8, 16, 32].map(|rows| Tile::Wide { rows }));
    let kernels = tiles.map(|tile| MatmulKernel { tile, k: K::Whole });
    let in_parts = [Tile::Square32, Tile::Plain, Tile::Subgroup { rows: 16 }];
    let kernels = kernels.chain(in_parts.map(|tile| MatmulKernel { tile, k: K::Parts(8) }));
    let kernels: Vec<_> = kernels.chain([MatmulKernel { tile: Tile::Square32, k: K::Slices(4) }]).collect();
    let mut found = Vec::new();
    for adapter in adapters() {
        for layout in [Layout::Nn, Layout::Nt, Layout::Tn] {
            for [m, n, k] in
                [[8, 8, 8], [8, 8, 32], [9, 9, 9], [8, 1, 8], [1, 8, 8], [1, 9, 8], [8, 20, 32], [6, 12, 4]]
            {
                for (epilogue, add) in &ends {
                    let product = matmul(m, n, k, layout);
                    let op = Matmul { epilogue: epilogue.clone(), addend: add.then_some(product.c), ..product };
                    // A stored matrix, a convolution with two taps, and a depthwise convolution.
                    let convolution = Matmul { window: Some(window(m.max(k) / 2)), ..op.clone() };
                    let depthwise = Window { groups: n, ..window(n) };
                    let depthwise = Matmul { window: Some(depthwise), ..op.clone() };
                    for op in [op, convolution, depthwise] {
                        let kernels = kernels.iter().filter(|kernel| kernel.fits(&op, &adapter));
                        found.extend(kernels.flat_map(|&kernel| crate::ops::launches(&op, kernel, &adapter)));
                    }
                }
            }
        }
    }
    found
}

fn matmul(m: u32, n: u32, k: u32, layout: Layout) -> Matmul {
    let tensor = |shape: [u32; 2]| Tensor::new(BufferId(0), Dtype::F32, shape);
    let a = tensor(if layout == Layout::Tn { [k, m] } else { [m, k] });
    let b = tensor(if layout == Layout::Nt { [n, k] } else { [k, n] });
    Matmul::new(a, b, tensor([m, n]), layout)
}

fn window(channels: u32) -> Window {
    let axis = |taps| Axis { length: 8, positions: 8, taps, down: 1, step: 1, first: 0, up: 1 };
    Window { channels: channels.max(1), groups: 1, rows: axis(1), columns: axis(2) }
}

/// Every class of adapter.
fn adapters() -> [Adapter; ADAPTERS.len()] {
    ADAPTERS.map(|adapter| Adapter::of_class(adapter).unwrap())
}

fn hardware() -> Adapter {
    Adapter::of_class("large-registers").unwrap()
}

/// Networks for the kernel of narrow layers: one width, odd widths, runs, every activation.
fn narrow_ops() -> Vec<(String, Narrow)> {
    let deep =
        (0..5).fold(Network::input(64), |net, _| net.dense(64, Activation::GeluErf)).dense(64, Activation::Softmax);
    let odd =
        [7, 1, 33, 63].into_iter().fold(Network::input(5), |net, units| net.dense(units, Activation::LeakyRelu(0.2)));
    let all = activations().fold(Network::input(12), |net, activation| net.dense(12, activation));
    let op = |(name, network): (&str, crate::NetworkBuilder)| {
        let plan = Plan::forward(&network.build().unwrap(), 9).unwrap();
        let [Op::Narrow(op)] = plan.step.as_slice() else { panic!("{plan}") };
        (name.to_owned(), op.clone())
    };
    [("deep", deep), ("odd", odd), ("activations", all)].map(op).into()
}

/// Functions that `Model::wgsl` writes for these networks and for networks with encodings, in one shader of an
/// application.
fn wgsl_functions() -> String {
    let mut text = String::new();
    let mut add = |name: &str, network: NarrowNetwork, words| {
        let binding = text.matches("@binding").count() as u32;
        text += &Wgsl::new(name, network, words).unwrap().bound_at(1, binding).with_gradient().to_string();
    };
    for (name, op) in narrow_ops() {
        let words = op.layers.last().map_or(0, |layer| layer.weight + 64 * 64 + 64);
        add(&name, NarrowNetwork { encodings: Vec::new(), layers: op.layers }, words);
    }
    let grids = [1, 2, 4].map(|features_per_level| HashGrid { levels: 5, features_per_level, ..HashGrid::default() });
    let smooth = HashGrid { interpolation: GridInterpolation::Smoothstep, ..grids[1] };
    let scaled = Encoding::Identity { scale: -0.5, offset: 1e-9 };
    let waves = Encoding::Frequency { frequencies: 3 };
    let blob = Encoding::OneBlob { bins: 9 };
    let encoded: [(&str, u32, &[Encoding]); 13] = [
        ("scaled", 3, &[scaled]),
        ("waves", 1, &[waves]),
        ("triangles", 64, &[Encoding::TriangleWave { frequencies: 12 }]),
        ("blob", 2, &[blob]),
        ("harmonics", 3, &[Encoding::SphericalHarmonics { degree: 5 }]),
        ("waves_of_directions", 6, &[Encoding::SphericalHarmonics { degree: 2 }, waves]),
        ("grid1", 1, &[grids[0].into()]),
        ("grid2", 2, &[grids[1].into()]),
        ("grid4", 4, &[grids[2].into()]),
        ("grid8", 3, &[HashGrid { features_per_level: 8, storage: GridStorage::Tiled, ..smooth }.into()]),
        ("grid_on_grid", 2, &[HashGrid { levels: 1, ..smooth }.into(), grids[1].into()]),
        ("several", 3, &[scaled, grids[1].into(), waves, scaled]),
        ("grid_and_blob", 3, &[grids[2].into(), Encoding::Identity { scale: 1.0, offset: 0.0 }, blob]),
    ];
    // The 9 + 10 * 6 features of `several`.
    let parts = [
        (3, Encoding::SphericalHarmonics { degree: 2 }),
        (2, grids[1].into()),
        (2, HashGrid { features_per_level: 8, levels: 2, ..smooth }.into()),
        (1, grids[0].into()),
        (52, blob),
    ];
    for (name, inputs, encodings) in encoded {
        for units in [8, 3] {
            let network = encodings.iter().fold(Network::input(inputs), |network, &e| network.encoding(e));
            let network = if name == "several" { network.composite_encoding(parts) } else { network };
            let network = network.dense(units, Activation::Silu).dense(units, Activation::Silu).build().unwrap();
            add(&format!("{name}_to_{units}"), narrow(&network).unwrap(), network.parameter_words());
        }
    }
    text
}

fn parse(name: &str, text: &str) -> Module {
    naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(text)))
}

/// Launches of every op on every kind of adapter.
fn launches() -> Vec<Launch> {
    let mut launches = Vec::new();
    for plan in plans() {
        for variants in adapters() {
            launches.extend(plan.ops().flat_map(|op| op.launches(&variants)));
        }
    }
    launches
}

/// Gradients of few weights from many rows, and sums for few outputs, use many workgroups on GPUs.
#[test]
fn long_sums_are_split_where_there_are_few() {
    use Layout::{Nn, Tn};
    let of = |m, n, k, layout| {
        let MatmulKernel { tile, k } = MatmulKernel::rule(&matmul(m, n, k, layout), &hardware());
        (tile, k)
    };
    assert_eq!(of(64, 64, 32768, Tn), (Tile::Square32, K::Parts(32)));
    assert_eq!(of(64, 1, 4096, Tn), (Tile::Square32, K::Parts(4)));
    assert_eq!(of(1, 64, 8192, Nn), (Tile::Square32, K::Parts(8)));
    assert_eq!(of(512, 256, 2048, Tn), (Tile::Square32, K::Parts(2)));
    assert_eq!(of(64, 64, 2047, Tn), (Tile::Square32, K::Slices(4)));
    assert_eq!(of(4096, 1, 32768, Tn), (Tile::Vector { lanes: 64 }, K::Whole));
    let launches = plans().iter().flat_map(Plan::ops).map(|op| op.launches(&hardware()).len()).collect::<Vec<_>>();
    assert!(launches.contains(&2), "a split matmul is two launches");
}

/// A forced kernel is not used if it cannot compute a matmul. If no kernel can compute a whole sum, the sum is split.
#[test]
fn the_rule_chooses_what_fits() {
    for adapter in adapters() {
        for layout in [Layout::Nn, Layout::Nt, Layout::Tn] {
            for [m, n] in [[1, 64], [64, 1], [64, 64], [512, 256], [1, 5000], [700, 900], [2048, 2048]] {
                for k in [1, 40, 300, 1000, 5000, 32768, 100_000] {
                    let op = matmul(m, n, k, layout);
                    for forced_matmul in [None, Some(MatmulKernel { tile: Tile::Panel, k: K::Whole })] {
                        let chosen = MatmulKernel::rule(&op, &Adapter { forced_matmul, ..adapter });
                        assert!(chosen.fits(&op, &adapter), "{chosen:?} for {layout:?} {m}x{n}x{k}");
                    }
                }
            }
        }
    }
}

/// The sliding kernels have no loop that exceeds a software adapter's limit, for images of any size.
#[test]
fn sliding_stays_within_the_iteration_limit() {
    let axis = |length, down| Axis { length, positions: length / down, taps: 3, down, step: 1, first: -1, up: 1 };
    let adapter = Adapter::of_class("software8").unwrap();
    let cases = [[1, 4000, 4000, 3, 1], [64, 512, 512, 64, 1], [4096, 28, 28, 1, 1], [64, 512, 512, 64, 2]];
    for [images, height, width, channels, down] in cases {
        let window = Window { channels, groups: 1, rows: axis(height, down), columns: axis(width, down) };
        let positions = images * window.positions();
        let layouts = [Layout::Nn, Layout::Tn];
        for &layout in if down == 1 { &layouts[..] } else { &layouts[..1] } {
            let [m, k] = if layout == Layout::Tn { [9 * channels, positions] } else { [positions, 9 * channels] };
            let op = Matmul { window: Some(window), ..matmul(m, 32, k, layout) };
            assert_eq!(MatmulKernel::rule(&op, &adapter).tile, Tile::Sliding);
            let launch = op.launches(&adapter).remove(0);
            let word = |of: &str| match launch.uniforms.iter().find(|(name, _)| *name == of).unwrap().1 {
                Word::U32(word) => word,
                Word::F32(_) => unreachable!(),
            };
            // The derivatives follow the blocks of channels.
            let blocks = if layout == Layout::Tn { 1 } else { (channels * down).div_ceil(16) + 1 };
            let iterations = blocks * (9 + word("strips").div_ceil(word("chunks")) * (width / down + 1));
            assert!(iterations <= LONGEST_LOOP, "{iterations} for {images}x{height}x{width}x{channels}");
        }
    }
}

#[test]
fn naga_accepts_every_shader() {
    for (name, text) in texts() {
        let module = parse(&name, &text);
        Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP | Capabilities::SHADER_INT64)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
    }
}

/// Files that are used without expansion are part of at least one text.
#[test]
fn every_file_is_part_of_a_text() {
    let texts = texts();
    let shaders = Path::new(ROOT).join("shaders");
    let folders = std::fs::read_dir(&shaders).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.chain([shaders.clone()]).flat_map(|folder| std::fs::read_dir(folder).unwrap());
    // A template is part of no text, because it is expanded.
    let is_name = |(name, _): (&str, &str)| !name.trim().is_empty() && !name.contains([';', '{']);
    let is_unrolled = |line: &str| {
        let names = line.split('{').skip(1).filter_map(|rest| rest.split_once('}')).any(is_name);
        // The host numbers the functions of `software/narrow_rows.*`.
        names || line.contains("PHASE") || ["// for each ", "// if "].iter().any(|start| line.trim().starts_with(start))
    };
    let is_shader = |path: &Path| path.to_str().unwrap().contains(".wgsl");
    for path in files.map(|entry| entry.unwrap().path()).filter(|path| is_shader(path)) {
        let file = std::fs::read_to_string(&path).unwrap();
        if path.extension().is_some_and(|e| e == "in") && file.lines().any(is_unrolled) {
            continue;
        }
        assert!(
            texts.values().any(|text| text.contains(&file)),
            "{} is in no text of an op in tests/common/plans.rs",
            path.display()
        );
    }
}

/// Chrome's compiler, if it is installed.
#[test]
fn tint_accepts_every_shader() {
    if Command::new("tint").arg("--help").output().is_err() {
        println!("tint is not installed: not checked with it");
        return;
    }
    // Standard WGSL has no u64, so browsers never see these variants.
    for (name, text) in texts().into_iter().filter(|(_, text)| !text.contains("u64")) {
        let file = std::env::temp_dir().join(format!("wgrad-{}-{}.wgsl", std::process::id(), name.replace(' ', "-")));
        // Chrome requires a line that naga does not know.
        let enable = if text.contains("subgroup") { "enable subgroups;\n" } else { "" };
        std::fs::write(&file, format!("{enable}{text}")).unwrap();
        let output = Command::new("tint").args(["--format", "wgsl"]).arg(&file).output().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_entry_point_stays_within_the_default_limits() {
    let limits = wgpu::Limits::default();
    for launch in launches() {
        let module = parse(&launch.shader.name, &launch.shader.source);
        let [entry] = module.entry_points.as_slice() else { panic!("{}: one entry point", launch.shader.name) };
        assert_eq!(entry.name, "main");
        // A size may be an override, LANES or ROWS. The launch has its value.
        let value = |size: usize, name: Option<&str>| {
            name.and_then(|name| launch.shader.constants.iter().find(|(n, _)| *n == name))
                .map_or(size as u32, |(_, v)| *v as u32)
        };
        let overrides = entry.workgroup_size_overrides.unwrap_or_default();
        let sizes: Vec<u32> = (0..3)
            .map(|i| {
                let name = overrides[i].and_then(|e| match module.global_expressions[e] {
                    naga::Expression::Override(handle) => module.overrides[handle].name.as_deref(),
                    _ => None,
                });
                value(entry.workgroup_size[i] as usize, name)
            })
            .collect();
        assert!(sizes.iter().product::<u32>() <= MOST_INVOCATIONS, "{sizes:?}");
        let layouts = {
            let mut layouter = naga::proc::Layouter::default();
            layouter.update(module.to_ctx()).unwrap();
            layouter
        };
        let shared = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
        let shared: u32 = shared.map(|(_, v)| layouts[v.ty].size).sum();
        assert!(shared <= MOST_WORKGROUP_MEMORY, "{}: {shared} bytes", launch.shader.name);
        let storage = module.global_variables.iter().filter(|(_, v)| v.binding.is_some()).count();
        assert!(storage <= limits.max_storage_buffers_per_shader_stage as usize, "{}", launch.shader.name);
        assert_eq!(storage, launch.writable().into_iter().flatten().count(), "{}: bindings", launch.shader.name);
        for (name, _) in &launch.shader.constants {
            assert!(module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name)), "{name}");
        }
    }
}

/// A kernel must declare as written exactly the bindings that the host makes writable.
#[test]
fn the_host_binds_what_the_shader_declares() {
    for launch in launches() {
        let module = parse(&launch.shader.name, &launch.shader.source);
        for (_, variable) in module.global_variables.iter() {
            let (Some(binding), naga::AddressSpace::Storage { access }) = (&variable.binding, variable.space) else {
                continue;
            };
            let writes = access.contains(naga::StorageAccess::STORE);
            let expected = launch.writable()[binding.binding as usize] == Some(true);
            assert_eq!(writes, expected, "{} binding {}", launch.shader.name, binding.binding);
        }
    }
}

/// The trait ensures that an op has a CPU twin and bounds. `tests/kernels.rs` ensures that it has cases.
#[test]
fn each_shader_is_an_ops() {
    let files = Path::new(ROOT).join("shaders").read_dir().unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    // For example, matmul.large.wgsl.in is a variant of matmul.
    let names = names.filter(|name| name.contains(".wgsl"));
    let stems: BTreeSet<String> = names.map(|name| name.split('.').next().unwrap().into()).collect();
    let mut named: BTreeSet<String> = plans().iter().flat_map(Plan::ops).map(|op| op.kernel().to_owned()).collect();
    // Plans do not use textures.
    named.extend(["from_texture", "from_texture_crops", "from_texture_random", "to_texture"].map(String::from));
    let differ: Vec<&String> = stems.symmetric_difference(&named).collect();
    assert_eq!(differ, [""; 0], "a shader without an op in a plan of tests/common/plans.rs, or an op without a shader");
}
