//! Translates every text to the languages of drivers, as wgpu's backends do for training. Compiles the results with
//! each compiler that is installed; the test prints which.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use naga::back::{PipelineConstants, glsl, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, TypeInner};

use super::{ROOT, launches, parse, texts};
use crate::ops::Shader;
use crate::texture_io::{from_texture, from_texture_crops, from_texture_random};

/// A shader language of drivers.
struct Language {
    name: &'static str,
    translate: fn(&Module, &ModuleInfo) -> Result<Vec<u8>, String>,
    /// Texts with these words have no translation. Each word has a reason.
    without: Without,
    /// Compilers. The first installed one checks every translation.
    compilers: &'static [Compiler],
}

/// A program that compiles a file of a language.
struct Compiler {
    /// The command, with the options before the file.
    command: &'static [&'static str],
    /// This compiler does not get texts with these words. Each word has a reason.
    without: Without,
}

type Without = &'static [(&'static str, &'static str)];

const LANGUAGES: [Language; 4] = [
    Language {
        name: "SPIR-V",
        translate: to_spirv,
        without: &[],
        compilers: &[Compiler { command: &["spirv-val", "--target-env", "vulkan1.1"], without: &[] }],
    },
    Language {
        name: "HLSL",
        translate: to_hlsl,
        without: &[],
        compilers: &[
            Compiler { command: &["dxc", "-T", "cs_6_0", "-E", "main"], without: &[] },
            Compiler {
                command: &["glslangValidator", "-D", "-S", "comp", "-e", "main", "-V", "-o", "/dev/null"],
                without: &[
                    ("u64", "its HLSL has no integers of 64 bits"),
                    ("array<vec4u, ", "it takes constant arrays that a function makes for a recursion"),
                    ("array<vec2u, ", "it takes constant arrays that a function makes for a recursion"),
                    ("subgroupBroadcast(", "long texts, which only software adapters with Vulkan get"),
                ],
            },
        ],
    },
    Language {
        name: "MSL",
        translate: to_msl,
        without: &[],
        compilers: &[Compiler {
            command: &["xcrun", "-sdk", "macosx", "metal", "-x", "metal", "-o", "/dev/null", "-c"],
            without: &[],
        }],
    },
    Language {
        name: "GLSL ES 3.1",
        translate: to_glsl,
        without: &[("u64", "the language has no integers of 64 bits")],
        // glslangValidator accepts them, but takes 70 ms for each. No wgpu backend in use needs them.
        compilers: &[],
    },
];

const UNCHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Unchecked,
    buffer: BoundsCheckPolicy::Unchecked,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};

fn to_spirv(module: &Module, info: &ModuleInfo) -> Result<Vec<u8>, String> {
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..spv::Options::default()
    };
    let entry = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into() };
    let words = spv::write_vec(module, info, &options, Some(&entry)).map_err(|e| e.to_string())?;
    Ok(bytemuck::cast_slice(&words).to_vec())
}

fn to_hlsl(module: &Module, info: &ModuleInfo) -> Result<Vec<u8>, String> {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..hlsl::Options::default()
    };
    let entry = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())) };
    let mut text = String::new();
    let mut writer = hlsl::Writer::new(&mut text, &options, &entry);
    let reflection = writer.write(module, info, None).map_err(|e| e.to_string())?;
    for name in reflection.entry_point_names {
        name.map_err(|e| e.to_string())?;
    }
    Ok(text.into_bytes())
}

fn to_msl(module: &Module, info: &ModuleInfo) -> Result<Vec<u8>, String> {
    let mut resources = msl::EntryPointResources { sizes_buffer: Some(30), ..Default::default() };
    for (slot, (_, variable)) in (0..).zip(module.global_variables.iter()) {
        let Some(binding) = variable.binding else { continue };
        let is_texture = matches!(module.types[variable.ty].inner, TypeInner::Image { .. });
        let [buffer, texture] = [!is_texture, is_texture].map(|is| is.then_some(slot));
        let mutable = match variable.space {
            AddressSpace::Storage { access } => access.contains(naga::StorageAccess::STORE),
            _ => is_texture,
        };
        resources.resources.insert(binding, msl::BindTarget { buffer, texture, mutable, ..Default::default() });
    }
    let options = msl::Options {
        lang_version: (2, 4),
        per_entry_point_map: [("main".into(), resources)].into(),
        fake_missing_bindings: false,
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..msl::Options::default()
    };
    let entry = msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())), ..Default::default() };
    let (text, translated) = msl::write_string(module, info, &options, &entry).map_err(|e| e.to_string())?;
    for name in translated.entry_point_names {
        name.map_err(|e| e.to_string())?;
    }
    Ok(text.into_bytes())
}

fn to_glsl(module: &Module, info: &ModuleInfo) -> Result<Vec<u8>, String> {
    let options = glsl::Options {
        version: glsl::Version::new_gles(310),
        zero_initialize_workgroup_memory: false,
        ..glsl::Options::default()
    };
    let entry =
        glsl::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into(), multiview: None };
    let mut text = String::new();
    glsl::Writer::new(&mut text, module, info, &options, &entry, UNCHECKED)
        .and_then(|mut writer| writer.write())
        .map_err(|e| e.to_string())?;
    Ok(text.into_bytes())
}

/// A text and the values of its constants.
#[derive(Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    source: String,
    /// Values of the constants, as bits.
    constants: Vec<(String, u64)>,
    name: String,
    /// True if compilers get it. They get each text once, because values hardly change a translation.
    compiled: bool,
}

/// Every text with every set of constants of a launch. A text without a launch has its default values.
fn cases() -> Vec<Case> {
    let shaders = launches().into_iter().map(|launch| launch.shader);
    let shaders = shaders.chain([from_texture(3), from_texture_random(3, 64)]);
    let shaders = shaders.chain([true, false].map(|texture| from_texture_crops(texture, vec![])));
    let with_constants = shaders.map(|Shader { name, source, constants, .. }| {
        let constants = constants.into_iter().map(|(name, value)| (name.to_owned(), value.to_bits())).collect();
        Case { source: source.into(), constants, name: name.into(), compiled: false }
    });
    let mut cases: BTreeSet<Case> = with_constants.collect();
    let mut known: BTreeSet<String> = cases.iter().map(|case| case.source.clone()).collect();
    let others = texts().into_iter().filter(|(_, text)| !known.contains(text));
    let other = |(name, text)| Case { source: with_entry_point(text), constants: Vec::new(), name, compiled: false };
    cases.extend(others.map(other).collect::<Vec<_>>());
    known.clear();
    cases.into_iter().map(|case| Case { compiled: known.insert(case.source.clone()), ..case }).collect()
}

/// Adds what an application might write around functions of networks: an entry point that calls each of them.
fn with_entry_point(mut text: String) -> String {
    if text.contains("@compute") {
        return text;
    }
    let functions = text.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("fn ")?.split_once("(input: ")?;
        let (input, output) = rest.strip_suffix(" {")?.split_once(") -> ")?;
        (!input.contains(" i: u32")).then_some((name, input, output))
    });
    let row = |of: &str| match of.strip_prefix("array<f32, ").and_then(|rest| rest.strip_suffix('>')) {
        Some(numbers) => format!("{of}({})", vec!["result"; numbers.parse().unwrap()].join(", ")),
        None => format!("{of}(result)"),
    };
    // A gradient also takes the gradient of the outputs.
    let input = |of: &str| of.split(", output_gradient: ").map(row).collect::<Vec<_>>().join(", ");
    let first = |of: &str| match of {
        "f32" => "",
        of if of.starts_with("vec") => ".x",
        _ => "[0]",
    };
    let calls = functions.map(|(name, of, to)| format!("    result += {name}({}){};\n", input(of), first(to)));
    let calls: String = calls.collect();
    assert!(calls.lines().count() > 20, "functions of networks: {calls}");
    text += "@group(0) @binding(0) var<storage, read_write> result: f32;\n";
    text + "@compute @workgroup_size(1) fn main() {\n" + &calls + "}\n"
}

/// First installed compiler of a language, and its version.
fn installed(language: &Language) -> Option<(&'static Compiler, String)> {
    language.compilers.iter().find_map(|compiler| {
        // Without a program to run, xcrun prints its own version.
        let words = if compiler.command[0] == "xcrun" { &compiler.command[..4] } else { &compiler.command[..1] };
        let output = Command::new(words[0]).args(&words[1..]).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.lines().next().unwrap_or_default().trim().to_owned();
        output.status.success().then_some((compiler, version))
    })
}

fn is_without(without: Without, case: &Case) -> bool {
    without.iter().any(|(word, _)| case.source.contains(word))
}

/// What the result depends on besides the case: this file, naga, the compilers.
fn surroundings(versions: &[Option<&str>]) -> String {
    let lock = std::fs::read_to_string(Path::new(ROOT).join("Cargo.lock")).unwrap_or_default();
    let naga = lock.split("[[package]]").find(|package| package.contains("name = \"naga\"")).unwrap_or_default();
    format!("{}{naga}{versions:?}", include_str!("portability.rs"))
}

/// The folder `target/tmp`.
fn folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(3).unwrap().join("tmp");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn check(
    language: &Language,
    compiler: Option<&Compiler>,
    case: &Case,
    module: &Module,
    info: &ModuleInfo,
) -> Result<(), String> {
    let translated = (language.translate)(module, info);
    if is_without(language.without, case) {
        return translated.map_or(Ok(()), |_| Err("naga translates it now: no longer to be left out".into()));
    }
    let (translated, Some(compiler)) = (translated?, compiler) else { return Ok(()) };
    if !case.compiled || is_without(compiler.without, case) {
        return Ok(());
    }
    let mut hasher = DefaultHasher::new();
    (case, language.name, std::process::id()).hash(&mut hasher);
    let file = folder().join(format!("{:016x}.txt", hasher.finish()));
    std::fs::write(&file, translated).unwrap();
    let [command, options @ ..] = compiler.command else { unreachable!() };
    let output = Command::new(command).args(options).arg(&file).output().unwrap();
    if !output.status.success() {
        let told = [output.stdout, output.stderr].concat();
        return Err(format!("{command} of {}: {}", file.display(), String::from_utf8_lossy(&told)));
    }
    std::fs::remove_file(&file).unwrap();
    Ok(())
}

/// Faults of a case in some languages.
fn faults(case: &Case, languages: &[(&Language, Option<&Compiler>)]) -> Vec<String> {
    let fault = |of: &str, reason: String| format!("{} in {of}: {reason}", case.name);
    let module = parse(&case.name, &case.source);
    let info = match Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module) {
        Ok(info) => info,
        Err(error) => return vec![fault("WGSL", error.emit_to_string(&case.source))],
    };
    let constants: PipelineConstants =
        case.constants.iter().map(|(name, bits)| (name.clone(), f64::from_bits(*bits))).collect();
    match process_overrides(&module, &info, Some((ShaderStage::Compute, "main")), &constants) {
        Ok((module, info)) => languages
            .iter()
            .filter_map(|(language, compiler)| {
                check(language, *compiler, case, &module, &info).err().map(|reason| fault(language.name, reason))
            })
            .collect(),
        Err(error) => vec![fault("WGSL with its constants", error.to_string())],
    }
}

/// A case that passed once is not checked again: the same text, constants and compilers.
#[test]
fn every_text_is_translated_for_every_driver() {
    let installed = LANGUAGES.each_ref().map(installed);
    let surroundings = surroundings(&installed.each_ref().map(|found| found.as_ref().map(|(_, v)| v.as_str())));
    let compilers = installed.iter().map(|found| found.as_ref().map(|(compiler, _)| *compiler));
    let languages: Vec<_> = LANGUAGES.iter().zip(compilers).collect();
    let cases = cases();
    let key = |case: &Case| {
        let mut hasher = DefaultHasher::new();
        (case, &surroundings).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    let list = folder().join("portability.txt");
    let right = std::fs::read_to_string(&list).unwrap_or_default();
    let right: BTreeSet<&str> = right.lines().collect();
    let todo: Mutex<Vec<&Case>> = Mutex::new(cases.iter().filter(|case| !right.contains(key(case).as_str())).collect());
    let checked = todo.lock().unwrap().len();
    let faults: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |threads| threads.get()) {
            scope.spawn(|| {
                while let Some(case) = { todo.lock().unwrap().pop() } {
                    let found = self::faults(case, &languages);
                    faults.lock().unwrap().extend(found);
                }
            });
        }
    });
    // This output is visible even if the test passes.
    let mut seen = std::io::stderr();
    let compiled = cases.iter().filter(|case| case.compiled).count();
    let all = cases.len();
    let _ = writeln!(seen, "{compiled} texts, {all} with their constants, {checked} of these new since the last run");
    let tell = |seen: &mut std::io::Stderr, without: Without| {
        for (word, why) in without {
            let without = cases.iter().filter(|case| case.compiled && case.source.contains(word)).count();
            let _ = writeln!(seen, "    but for {without} with {word}: {why}");
        }
    };
    for (language, found) in LANGUAGES.iter().zip(&installed) {
        let _ = writeln!(seen, "{}: translated by naga", language.name);
        tell(&mut seen, language.without);
        match found {
            Some((compiler, version)) => {
                let _ = writeln!(seen, "    compiled by {} ({version})", compiler.command[0]);
                tell(&mut seen, compiler.without);
            }
            None if language.compilers.is_empty() => {}
            None => {
                let names = language.compilers.iter().map(|compiler| compiler.command[0]).collect::<Vec<_>>();
                let _ = writeln!(seen, "    NOT compiled: no {} is installed", names.join(" and no "));
            }
        }
    }
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    std::fs::write(list, cases.iter().map(|case| key(case) + "\n").collect::<String>()).unwrap();
}
