//! Runs every kernel on your GPU and on the CPU reference, and compares every number. For bug reports.
//!
//! Prints the adapter, its features and limits. Then it prints a line for each case: its largest error, its time, and
//! pass or FAIL. Send the whole output with a bug report.
//! Takes about 6 minutes on two CPU cores with a software adapter; `--quick` takes about 2 minutes.
//!
//!     cargo run --release --example doctor
//!     cargo run --release --example doctor -- --quick --case softmax

#[path = "../tests/cases/mod.rs"]
mod cases;
#[path = "../tests/common/mod.rs"]
mod common;
#[macro_use]
#[path = "common/mod.rs"]
mod examples;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use cases::{CASES, Case, Check};
use clap::Parser;
use examples::device::{self, DeviceChoice};
use examples::{Result, options};
use wgrad::{Gpu, wgpu};

/// Largest number of differences to print for a case.
const SHOWN: usize = 3;

/// Runs every kernel on a GPU and on the CPU reference, and compares every number. The exit code is 1 if a case fails.
#[derive(Parser)]
struct Args {
    /// Device: auto (the fastest GPU) or part of a GPU's name
    #[arg(long, alias = "adapter", value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Runs only the cases of this kernel: the name of a file in shaders/, without .wgsl
    #[arg(long, value_name = "KERNEL")]
    kernel: Option<String>,
    /// Runs only the cases whose name contains this text; may be given several times
    #[arg(long, value_name = "PART")]
    case: Vec<String>,
    /// Tests only the kernels that wgrad chooses for this adapter, not all that it could run
    #[arg(long)]
    quick: bool,
    /// Changes an input of every case on the GPU only; a case fails if it finds no difference
    #[arg(long)]
    falsify: bool,
}

fn main() -> ExitCode {
    match pollster::block_on(run(&options::parse())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => examples::exit_code(Err(error)),
    }
}

/// Returns whether all cases passed.
async fn run(args: &Args) -> Result<bool> {
    let is_named = |case: &Case| args.case.iter().any(|part| case.name.contains(&part.replace(' ', "_")));
    let has_kernel = |case: &Case| args.kernel.as_ref().is_none_or(|kernel| case.kernels.contains(&kernel.as_str()));
    let cases: Vec<&Case> = CASES.iter().filter(|case| has_kernel(case)).collect();
    if let (true, Some(kernel)) = (cases.is_empty(), &args.kernel) {
        let kernels: BTreeSet<&str> = CASES.iter().flat_map(|case| case.kernels).copied().collect();
        let kernels = kernels.into_iter().collect::<Vec<_>>().join(", ");
        return Err(format!("--kernel: expected one of {kernels}; got {kernel}").into());
    }
    let names = cases.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
    let cases: Vec<&Case> = cases.into_iter().filter(|case| args.case.is_empty() || is_named(case)).collect();
    if cases.is_empty() {
        return Err(format!("--case: expected part of one of {names}; got {}", args.case.join(", ")).into());
    }
    println!("wgrad {} on {} {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    let adapter = args.device.adapter(&device::instance(), None).await?;
    describe(&adapter);

    let mut run = 0;
    let mut failed = 0;
    let mut check = |title: &str, gpu: &Gpu, cases: &[&Case]| {
        run += cases.len();
        failed += check(title, gpu, cases, args.falsify);
    };
    check("The kernels that wgrad chooses for this adapter", &Gpu::from_adapter(&adapter).await?, &cases);
    if !args.quick {
        // An app may create its device without any features.
        let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await?;
        check("The kernels for a device without features", &Gpu::from_parts(device, queue), &cases);
    }
    let makes_products = |case: &&Case| !args.quick && case.kernels.contains(&"matmul");
    let products: Vec<&Case> = cases.into_iter().filter(makes_products).collect();
    for kernel in common::PRODUCTS {
        if !products.is_empty() {
            let gpu = Gpu::from_adapter(&adapter).await?.with_products(kernel);
            check(&format!("Matrix multiplications with {kernel:?}, where it applies"), &gpu, &products);
        }
    }
    match (failed, args.falsify) {
        (0, false) => println!("\nAll is well: every kernel agrees with the CPU reference."),
        (0, true) => println!("\nAll {run} cases detected the changed input."),
        (_, false) => println!("\n{failed} of {run} cases FAILED. Please send this whole output with your report."),
        (_, true) => println!("\n{failed} of {run} cases did NOT detect the changed input."),
    }
    Ok(failed == 0)
}

fn describe(adapter: &wgpu::Adapter) {
    let info = adapter.get_info();
    println!("\n{} ({:?}), {}", info.name, info.device_type, info.backend);
    println!("  vendor {:#06x}, device {:#06x}, PCI bus {:?}", info.vendor, info.device, info.device_pci_bus_id);
    println!("  driver {} {}", info.driver, info.driver_info);
    println!("  subgroups of {} to {} invocations", info.subgroup_min_size, info.subgroup_max_size);
    println!("  features {}", features(adapter.features()));
    let limits = adapter.limits();
    for (name, limit) in [
        ("buffer, bytes", limits.max_buffer_size),
        ("storage binding, bytes", limits.max_storage_buffer_binding_size),
        ("storage buffers a stage", limits.max_storage_buffers_per_shader_stage.into()),
        ("invocations a workgroup", limits.max_compute_invocations_per_workgroup.into()),
        ("workgroup memory, bytes", limits.max_compute_workgroup_storage_size.into()),
        ("workgroups a dimension", limits.max_compute_workgroups_per_dimension.into()),
        ("storage offset alignment", limits.min_storage_buffer_offset_alignment.into()),
    ] {
        println!("  limit of {name:<26}{limit:>16}");
    }
}

/// Runs the cases and prints their results. Returns the number of failed cases. With `falsify`, a case without a
/// difference fails.
fn check(title: &str, gpu: &Gpu, cases: &[&Case], falsify: bool) -> usize {
    println!("\n{title}; device features {}", features(gpu.device().features()));
    println!("{:<56}{:>6}{:>12}{:>9}", "", "ops", "error/bound", "seconds");
    let mut failed = 0;
    for case in cases {
        // If the driver crashes, the last line names the case.
        let _ = write!(std::io::stdout(), "{:<56}", case.name.replace('_', " "));
        let _ = std::io::stdout().flush();
        let start = Instant::now();
        let mut check = Check::new(gpu, falsify);
        let ran = (case.run)(&mut check);
        let passes = ran.is_ok() && check.faults.is_empty() != falsify;
        let verdict = match (passes, falsify) {
            (true, false) => "pass",
            (true, true) => "detected",
            (false, _) => "FAIL",
        };
        let seconds = start.elapsed().as_secs_f64();
        let worst = if check.worst < 1e3 { format!("{:.3}", check.worst) } else { format!("{:.0e}", check.worst) };
        println!("{:>6}{worst:>12}{seconds:>9.2}  {verdict}", check.compared);
        check.faults.extend(ran.err().map(|error| error.to_string()));
        check.faults.iter().take(SHOWN).for_each(|fault| println!("    {fault}"));
        if check.faults.len() > SHOWN {
            println!("    and {} more", check.faults.len() - SHOWN);
        }
        failed += usize::from(!passes);
    }
    failed
}

fn features(features: wgpu::Features) -> String {
    if features.is_empty() { "none".into() } else { features.to_string() }
}
