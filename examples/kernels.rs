//! Prints the WGSL shaders that wgrad generates for each class of adapter. It needs no GPU.
//!
//! Without a name it prints a list of all kernels. With a name it prints their WGSL and the dispatches that use them.
//! Takes a few seconds.
//!
//!     cargo run --release --example kernels
//!     cargo run --release --example kernels -- matmul --adapter software8
//!     cargo run --release --example kernels -- update --optimizer lion --out out/kernels

#[macro_use]
mod common;
#[path = "../tests/common/plans.rs"]
mod plans;

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use common::{Result, options, training_options::TrainingOptions};
use naga::{ScalarKind, TypeInner};
use wgrad::kernel_sources::{self, Kernel};
use wgrad::{Gpu, Plan};

/// The value of `--adapter` for the GPU of this machine.
const HERE: &str = "here";

/// Prints kernels as WGSL, with the dispatches that use them: workgroups, constants and uniforms. The kernels are
/// those of an MNIST training run, set by the options below, and of small networks that use every op. Without a name
/// it lists all kernels.
#[derive(Parser)]
struct Args {
    /// Part of the names of the kernels to print, such as matmul, matmul.wide or update
    name: Option<String>,
    /// Prints only the kernels for this class of adapter; "here" is the GPU of this machine [default: every class]
    #[arg(long, value_parser = PossibleValuesParser::new(kernel_sources::ADAPTERS.into_iter().chain([HERE])))]
    adapter: Option<String>,
    /// Folder for the WGSL files; without it they are printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    training: TrainingOptions,
}

/// A kernel's WGSL text, and the dispatches that use it.
struct Text {
    kernel: Kernel,
    uses: Vec<Use>,
}

#[derive(PartialEq)]
struct Use {
    adapter: String,
    op: String,
    kernel: Kernel,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

fn run(args: &Args) -> Result<()> {
    let all = texts(args)?;
    let texts: Vec<&Text> =
        all.iter().filter(|text| args.name.as_ref().is_none_or(|name| text.is_named(name))).collect();
    if let (true, Some(name)) = (texts.is_empty(), &args.name) {
        return Err(format!("no kernel's name contains {name:?}; run without a name for a list of all kernels").into());
    }
    match (&args.out, &args.name) {
        (Some(folder), _) => {
            for (i, text) in texts.iter().enumerate() {
                let same = texts[..i].iter().filter(|other| other.kernel.name == text.kernel.name).count();
                let number = if same == 0 { String::new() } else { format!("-{}", same + 1) };
                let name = text.kernel.name.replace(|c: char| !c.is_alphanumeric() && !".-_".contains(c), "-");
                common::write_file(&folder.join(format!("{name}{number}.wgsl")), text.printed()?)?;
            }
            println!("{} WGSL files are in {}", texts.len(), folder.display());
        }
        (None, Some(_)) => {
            for text in texts {
                println!("{}", text.printed()?);
            }
        }
        (None, None) => {
            println!("{:>6} {:>6} {:>11}  {:<60} adapters", "lines", "bytes", "dispatches", "kernel");
            for Text { kernel: Kernel { name, source, .. }, uses } in texts {
                let mut adapters: Vec<&str> = uses.iter().map(|of| of.adapter.as_str()).collect();
                adapters.dedup();
                let (lines, bytes, uses, adapters) =
                    (source.lines().count(), source.len(), uses.len(), adapters.join(" "));
                println!("{lines:>6} {bytes:>6} {uses:>11}  {name:<60} {adapters}");
            }
        }
    }
    Ok(())
}

/// Every WGSL text once, sorted by name.
fn texts(args: &Args) -> Result<Vec<Text>> {
    let training = &args.training;
    let config = training.config(1, 60_000)?;
    let own = Plan::training(&training.network()?, training.loss(), &training.optimizer(), &config)?;
    let plans: Vec<Plan> = [own].into_iter().chain(plans::plans()).collect();
    let adapters = match &args.adapter {
        Some(adapter) => vec![adapter.as_str()],
        None => kernel_sources::ADAPTERS.to_vec(),
    };
    let gpu: Option<Gpu> = match adapters[0] {
        HERE => Some(Gpu::request()?),
        _ => None,
    };
    let mut texts: Vec<Text> = Vec::new();
    let mut add = |adapter: &str, op: String, kernel: Kernel| {
        let found = texts.iter().position(|text| text.kernel.source == kernel.source);
        let at = found.unwrap_or_else(|| {
            texts.push(Text { kernel: kernel.clone(), uses: Vec::new() });
            texts.len() - 1
        });
        let new = Use { adapter: adapter.into(), op, kernel };
        if !texts[at].uses.contains(&new) {
            texts[at].uses.push(new);
        }
    };
    for adapter in adapters {
        for plan in &plans {
            let kernels = gpu.as_ref().map(|gpu| gpu.kernels(plan)).or_else(|| kernel_sources::kernels(plan, adapter));
            for (op, kernels) in plan.ops().zip(kernels.unwrap_or_default()) {
                kernels.into_iter().for_each(|kernel| add(adapter, plan.title(op), kernel));
            }
        }
        kernel_sources::textures().into_iter().for_each(|kernel| add(adapter, "texture of 3 channels".into(), kernel));
    }
    texts.sort_by(|a, b| a.kernel.name.cmp(&b.kernel.name));
    Ok(texts)
}

impl Text {
    fn is_named(&self, name: &str) -> bool {
        self.kernel.name.contains(name) || self.uses.iter().any(|of| of.op.split(' ').next() == Some(name))
    }

    /// The WGSL text, after comments that list its uses.
    fn printed(&self) -> Result<String> {
        let Kernel { name, source, .. } = &self.kernel;
        let module =
            naga::front::wgsl::parse_str(source).map_err(|e| format!("{name}: {}", e.emit_to_string(source)))?;
        let mut text = format!("// {name}\n");
        for Use { adapter, op, kernel } in &self.uses {
            let grid =
                if kernel.workgroups == 0 { String::new() } else { format!(", workgroups {}", kernel.workgroups) };
            writeln!(text, "// {adapter}: {op}{grid}")?;
            let constants = kernel.constants.iter().map(|(name, value)| format!(" {name} {value}"));
            let lines =
                [("constants", constants.collect::<String>()), ("uniforms", uniforms(&module, &kernel.uniforms))];
            for (what, values) in lines.iter().filter(|(_, values)| !values.is_empty()) {
                writeln!(text, "//     {what}{values}")?;
            }
        }
        Ok(text + "\n" + source)
    }
}

/// Members of the uniform struct and their values.
fn uniforms(module: &naga::Module, bytes: &[u8]) -> String {
    let first = module.global_variables.iter().find(|(_, variable)| variable.binding.is_some_and(|b| b.binding == 0));
    let Some(TypeInner::Struct { members, .. }) = first.map(|(_, variable)| &module.types[variable.ty].inner) else {
        return String::new();
    };
    let value = |member: &naga::StructMember| {
        let word = bytes.get(member.offset as usize..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))?;
        let is_float = module.types[member.ty].inner.scalar_kind() == Some(ScalarKind::Float);
        let value = if is_float { f32::from_bits(word).to_string() } else { word.to_string() };
        Some(format!(" {} {value}", member.name.as_deref()?))
    };
    members.iter().filter_map(value).collect()
}
