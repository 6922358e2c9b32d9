//! Every shader text that can reach a device, looked at without one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use naga::Module;
use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::*;
use crate::Wgsl;
use crate::inspect::ADAPTERS;
use crate::network::Network;
use crate::plan::{Narrow, NarrowNetwork, Plan, narrow};
use crate::texture::{FORMATS, from_texture, from_texture_random, to_texture};
use crate::{Activation, Encoding, HashGrid};
use plans::plans;

mod layouts;
#[path = "../../../../tests/common/plans.rs"]
mod plans;
mod portability;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every text by name: those of launches, and the variants of products and others that no plan here has.
fn texts() -> BTreeMap<String, String> {
    let of_launches = launches().into_iter().map(|launch| launch.shader);
    let of_textures = [from_texture(3), from_texture_random(3, 9)].into_iter();
    let mut texts: BTreeMap<_, _> =
        of_launches.chain(of_textures).map(|shader| (shader.name.into_owned(), shader.source.into_owned())).collect();
    for kernel in product_kernels() {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false)] {
            for (aligned, updates) in [(false, false), (false, true), (true, false), (true, true)] {
                // A panel's sums go through C, which parameters are not; but for those of weights' gradients. And parts of sums
                // are no gradients.
                let never = match kernel {
                    matmul::MatmulKernel::Panel { .. } => !transpose_a,
                    kernel => matches!(kernel, matmul::MatmulKernel::Split { .. }),
                };
                if updates && never {
                    continue;
                }
                let activation = Activation::GeluErf;
                for c_is_row in [false, true] {
                    let text =
                        matmul::MatmulText { kernel, transpose_a, transpose_b, aligned, activation, updates, c_is_row };
                    texts.insert(text.name(), text.source());
                }
            }
        }
    }
    for features in [1, 2, 4] {
        texts.insert(format!("hash_grid {features}"), grid_source(features));
    }
    for activation in Activation::ALL {
        let kernel = matmul::MatmulKernel::Tiled { slices: 1 };
        let [transpose_a, transpose_b, aligned, updates, c_is_row] = [false; 5];
        let text = matmul::MatmulText { kernel, transpose_a, transpose_b, aligned, activation, updates, c_is_row };
        texts.insert(text.name(), text.source());
        texts.insert(format!("pointwise_loss {activation}"), pointwise_loss(activation));
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

/// Every kernel of products, on any adapter.
fn product_kernels() -> Vec<matmul::MatmulKernel> {
    let op = product(8, 8, 8, crate::plan::Layout::Nn);
    let of_vectors = [8, 64].map(|lanes| matmul::MatmulKernel::Vector { lanes });
    let of_short_sums = [8, 32].map(|steps| matmul::MatmulKernel::Panel { steps });
    adapters()
        .into_iter()
        .flat_map(|variants| matmul::MatmulKernel::candidates(&op, variants))
        .chain(of_vectors)
        .chain(of_short_sums)
        .chain([matmul::MatmulKernel::Split { parts: 8 }, matmul::MatmulKernel::Parts { parts: 8 }])
        .collect()
}

fn product(m: u32, n: u32, k: u32, layout: crate::plan::Layout) -> crate::plan::Matmul {
    let tensor = crate::plan::Tensor::new(crate::plan::BufferId(0), crate::plan::Dtype::F32, 64);
    let [a, b, c] = [tensor; 3];
    let (slice, epilogue) = (0..k, crate::plan::Epilogue::None);
    crate::plan::Matmul { a, b, c, m, n, k, slice, layout, epilogue, bias_gradient: None }
}

/// Every class of adapter.
fn adapters() -> [Adapter; ADAPTERS.len()] {
    ADAPTERS.map(|adapter| Adapter::of_class(adapter).unwrap())
}

fn hardware() -> Adapter {
    Adapter::of_class("large-registers").unwrap()
}

/// Networks that the kernel for narrow ones is written for: one width, odd widths, runs, every activation.
fn narrow_ops() -> Vec<(String, Narrow)> {
    let deep =
        (0..5).fold(Network::input(64), |net, _| net.dense(64, Activation::GeluErf)).dense(64, Activation::Softmax);
    let odd =
        [7, 1, 33, 63].into_iter().fold(Network::input(5), |net, units| net.dense(units, Activation::LeakyRelu(0.2)));
    let all = Activation::ALL.into_iter().fold(Network::input(12), |net, activation| net.dense(12, activation));
    let op = |(name, network): (&str, crate::NetworkBuilder)| {
        let plan = Plan::forward(&network.build().unwrap(), 9).unwrap();
        let [Op::Narrow(op)] = plan.step.as_slice() else { panic!("{plan}") };
        (name.to_owned(), op.clone())
    };
    [("deep", deep), ("odd", odd), ("activations", all)].map(op).into()
}

/// What `Model::wgsl` makes of them and of networks with encodings, all in one shader of an app's.
fn wgsl_functions() -> String {
    let mut text = String::new();
    let mut add = |name: &str, network: NarrowNetwork, words| {
        let binding = text.matches("@binding").count() as u32;
        text += &Wgsl::new(name, network, words).unwrap().bound_at(1, binding).to_string();
    };
    for (name, op) in narrow_ops() {
        let words = op.layers.last().map_or(0, |layer| layer.weight + 64 * 64 + 64);
        add(&name, NarrowNetwork { encodings: Vec::new(), layers: op.layers }, words);
    }
    let grids = [1, 2, 4].map(|features_per_level| HashGrid { levels: 5, features_per_level, ..HashGrid::default() });
    let scaled = Encoding::Identity { scale: -0.5, offset: 1e-9 };
    let waves = Encoding::Frequency { frequencies: 3 };
    let blob = Encoding::OneBlob { bins: 9 };
    let encoded: [(&str, u32, &[Encoding]); 9] = [
        ("scaled", 3, &[scaled]),
        ("waves", 1, &[waves]),
        ("triangles", 64, &[Encoding::TriangleWave { frequencies: 12 }]),
        ("blob", 2, &[blob]),
        ("grid1", 1, &[grids[0].into()]),
        ("grid2", 2, &[grids[1].into()]),
        ("grid4", 4, &[grids[2].into()]),
        ("several", 3, &[scaled, grids[1].into(), waves, scaled]),
        ("grid_and_blob", 3, &[grids[2].into(), Encoding::Identity { scale: 1.0, offset: 0.0 }, blob]),
    ];
    for (name, inputs, encodings) in encoded {
        for units in [8, 3] {
            let network = encodings.iter().fold(Network::input(inputs), |network, &e| network.encoding(e));
            let network = network.dense(units, Activation::Silu).dense(units, Activation::Silu).build().unwrap();
            add(&format!("{name}_to_{units}"), narrow(&network).unwrap(), network.parameter_words());
        }
    }
    text
}

fn parse(name: &str, text: &str) -> Module {
    naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(text)))
}

/// The launches of every kind of op, on every kind of adapter.
fn launches() -> Vec<Launch> {
    let mut launches = Vec::new();
    for plan in plans() {
        for variants in adapters() {
            launches.extend(plan.ops().flat_map(|op| op.launches(&variants)));
        }
    }
    launches
}

/// Gradients of few weights from many rows, and sums for few outputs: on GPUs the work of many workgroups.
#[test]
fn long_sums_are_split_where_there_are_few() {
    let of = |m, n, k, layout| matmul::MatmulKernel::rule(&product(m, n, k, layout), hardware());
    use crate::plan::Layout::{Nn, Tn};
    use matmul::MatmulKernel::{Split, Tiled, Vector};
    assert_eq!(of(64, 64, 32768, Tn), Split { parts: 32 });
    assert_eq!(of(64, 1, 4096, Tn), Split { parts: 4 });
    assert_eq!(of(1, 64, 8192, Nn), Split { parts: 8 });
    assert_eq!(of(512, 256, 2048, Tn), Split { parts: 2 });
    assert_eq!(of(64, 64, 2047, Tn), Tiled { slices: 4 });
    assert_eq!(of(4096, 1, 32768, Tn), Vector { lanes: 64 });
    let launches = plans().iter().flat_map(Plan::ops).map(|op| op.launches(&hardware()).len()).collect::<Vec<_>>();
    assert!(launches.contains(&2), "a split product is two launches");
}

/// What the tuner measured and the rule chose is found again in a file.
#[cfg(feature = "files")]
#[test]
fn the_rule_chooses_among_the_candidates() {
    for variants in adapters() {
        for layout in [crate::plan::Layout::Nn, crate::plan::Layout::Nt, crate::plan::Layout::Tn] {
            for [m, n] in [[1, 64], [64, 1], [64, 64], [512, 256], [1, 5000], [700, 900], [2048, 2048]] {
                for k in [1, 40, 300, 1000, 5000, 32768] {
                    let op = product(m, n, k, layout);
                    let chosen = matmul::MatmulKernel::rule(&op, variants);
                    let candidates = matmul::MatmulKernel::candidates(&op, variants);
                    assert!(candidates.contains(&chosen), "{chosen:?} for {layout:?} {m}x{n}x{k}");
                }
            }
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

/// Files that stand in texts as they are do so in one, at least.
#[test]
fn every_file_is_part_of_a_text() {
    let texts = texts();
    let shaders = Path::new(ROOT).join("shaders");
    let folders = std::fs::read_dir(&shaders).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.chain([shaders.clone()]).flat_map(|folder| std::fs::read_dir(folder).unwrap());
    for path in files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "wgsl")) {
        let file = std::fs::read_to_string(&path).unwrap();
        assert!(texts.values().any(|text| text.contains(&file)), "{} is in no text", path.display());
    }
}

/// Chrome's compiler, where it is installed.
#[test]
fn tint_accepts_every_shader() {
    if Command::new("tint").arg("--help").output().is_err() {
        println!("tint is not installed: not checked with it");
        return;
    }
    // WGSL proper has no u64, so browsers never see these variants.
    for (name, text) in texts().into_iter().filter(|(name, _)| !name.contains("wide")) {
        let file = std::env::temp_dir().join(format!("wgrad-{}-{}.wgsl", std::process::id(), name.replace(' ', "-")));
        // Chrome demands the line that naga does not know.
        let enable = if name.contains("subgroup") { "enable subgroups;\n" } else { "" };
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
        // A size may be an override: LANES or ROWS, whose values the launch gives.
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
        assert_eq!(storage, launch.bindings.len() + 1, "{}: bindings", launch.shader.name);
        for (name, _) in &launch.shader.constants {
            assert!(module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name)), "{name}");
        }
    }
}

/// What a kernel declares as written or not must be what the host binds.
#[test]
fn the_host_binds_what_the_shader_declares() {
    for launch in launches() {
        let module = parse(&launch.shader.name, &launch.shader.source);
        for (_, variable) in module.global_variables.iter() {
            let (Some(binding), naga::AddressSpace::Storage { access }) = (&variable.binding, variable.space) else {
                continue;
            };
            let writes = access.contains(naga::StorageAccess::STORE);
            let expected = binding.binding > 0 && launch.writable()[binding.binding as usize - 1];
            assert_eq!(writes, expected, "{} binding {}", launch.shader.name, binding.binding);
        }
    }
}

/// The trait sees to it that an op has a twin and bounds, `tests/kernels.rs` that it has cases.
#[test]
fn each_shader_is_an_ops() {
    let files = Path::new(ROOT).join("shaders").read_dir().unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    // matmul.large.wgsl.in, for instance, is a variant of matmul.
    let names = names.filter(|name| name.contains(".wgsl"));
    let stems: BTreeSet<String> = names.map(|name| name.split('.').next().unwrap().into()).collect();
    let mut named: BTreeSet<String> = plans().iter().flat_map(Plan::ops).map(|op| op.kernel().to_owned()).collect();
    // Plans know nothing of textures.
    named.extend(["from_texture", "from_texture_random", "to_texture"].map(String::from));
    assert_eq!(stems, named, "each kernel is used by an op that a plan can have");
}
