//! Prints the shaders that a GPU gets, as WGSL, for any class of adapter. It needs no GPU.
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
use common::{Result, options, recipe::Recipe};
use naga::{ScalarKind, TypeInner};
use wgrad::inspect::{self, Kernel};
use wgrad::{Gpu, Plan};

/// The adapter that is there.
const HERE: &str = "here";

/// Prints the kernels of the MNIST network's training and of small networks that use every op: WGSL with the dispatches
/// that use it, their workgroups, constants and uniforms. Without a name it lists all kernels.
#[derive(Parser)]
struct Args {
    /// Part of a kernel's name, such as matmul, matmul.wide or update
    name: Option<String>,
    /// Only for this class of adapter; "here" is the GPU that is there [default: every class]
    #[arg(long, value_parser = PossibleValuesParser::new(inspect::ADAPTERS.into_iter().chain([HERE])))]
    adapter: Option<String>,
    /// Writes each text to a file of this folder instead
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    recipe: Recipe,
}

/// A text and the dispatches that use it.
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
        return Err(format!("no kernel's name contains {name:?}: without a name, all are listed").into());
    }
    match (&args.out, &args.name) {
        (Some(folder), _) => {
            for (i, text) in texts.iter().enumerate() {
                let same = texts[..i].iter().filter(|other| other.kernel.name == text.kernel.name).count();
                let number = if same == 0 { String::new() } else { format!("-{}", same + 1) };
                let name = text.kernel.name.replace(|c: char| !c.is_alphanumeric() && !".-_".contains(c), "-");
                common::write_whole(&folder.join(format!("{name}{number}.wgsl")), text.printed()?)?;
            }
            println!("{} texts are in {}", texts.len(), folder.display());
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

/// Every text, in the order of their names.
fn texts(args: &Args) -> Result<Vec<Text>> {
    let recipe = &args.recipe;
    let config = recipe.config(1, 60_000)?;
    let own = Plan::training(&recipe.network()?, recipe.loss(), &recipe.optimizer(), &config)?;
    let plans: Vec<Plan> = [own].into_iter().chain(plans::plans()).collect();
    let adapters = match &args.adapter {
        Some(adapter) => vec![adapter.as_str()],
        None => inspect::ADAPTERS.to_vec(),
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
            let kernels = gpu.as_ref().map(|gpu| gpu.kernels(plan)).or_else(|| inspect::kernels(plan, adapter));
            for (op, kernels) in plan.ops().zip(kernels.unwrap_or_default()) {
                kernels.into_iter().for_each(|kernel| add(adapter, plan.title(op), kernel));
            }
        }
        inspect::textures().into_iter().for_each(|kernel| add(adapter, "texture of 3 channels".into(), kernel));
    }
    texts.sort_by(|a, b| a.kernel.name.cmp(&b.kernel.name));
    Ok(texts)
}

impl Text {
    fn is_named(&self, name: &str) -> bool {
        self.kernel.name.contains(name) || self.uses.iter().any(|of| of.op.split(' ').next() == Some(name))
    }

    /// The text below comments on its uses.
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

/// The uniform struct's members and their values.
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
