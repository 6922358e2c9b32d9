//! Runs every kernel on your GPU and on the CPU reference, and says whether they agree: what to send with a bug report.
//!
//!     cargo run --release --example doctor

#[path = "../tests/cases/mod.rs"]
mod cases;
#[path = "../tests/common/mod.rs"]
mod common;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use cases::{CASES, Case, Check};
use clap::Parser;
use wgrad::{Gpu, wgpu};

/// Faults of a case that are shown.
const SHOWN: usize = 3;

/// Runs every kernel on a GPU and on the CPU reference, and compares every number. The exit code is 1 where one fails.
#[derive(Parser)]
struct Args {
    /// Part of the GPU's name; the one that wgrad would choose if left out
    #[arg(long, value_name = "NAME", default_value = "")]
    adapter: String,
    /// Only the cases of this kernel, a file of shaders/ without its ending
    #[arg(long, value_name = "KERNEL")]
    kernel: Option<String>,
    /// Makes inputs wrong on the GPU, to see that the doctor notices: the kernels must fail
    #[arg(long)]
    falsify: bool,
}

fn main() -> ExitCode {
    match pollster::block_on(run(&Args::parse())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
async fn run(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    let cases: Vec<&Case> = CASES
        .iter()
        .filter(|case| args.kernel.as_ref().is_none_or(|kernel| case.kernels.contains(&kernel.as_str())))
        .collect();
    if let (true, Some(kernel)) = (cases.is_empty(), &args.kernel) {
        return Err(format!("--kernel: expected a file of shaders/ without its ending, got {kernel}").into());
    }
    println!("wgrad {} on {} {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    let adapter = find(&args.adapter).await?;
    describe(&adapter);

    let mut run = 0;
    let mut failed = 0;
    let mut check = |title: &str, gpu: &Gpu, cases: &[&Case]| {
        run += cases.len();
        failed += check(title, gpu, cases, args.falsify);
    };
    check("The kernels that wgrad chooses for this adapter", &Gpu::from_adapter(&adapter).await?, &cases);
    // Those of a device that an app has made without any features.
    let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await?;
    check("The kernels that need nothing", &Gpu::from_parts(device, queue), &cases);
    let products: Vec<&Case> = cases.into_iter().filter(|case| case.kernels.contains(&"matmul")).collect();
    for family in common::PRODUCTS {
        if !products.is_empty() {
            let gpu = Gpu::from_adapter(&adapter).await?.with_products(family);
            check(&format!("Products of the family {family:?}, where the adapter can"), &gpu, &products);
        }
    }
    match failed {
        0 => println!("\nAll is well: every kernel agrees with the reference."),
        _ if args.falsify => println!("\n{failed} of {run} noticed that inputs were made wrong."),
        _ => println!("\n{failed} of {run} FAILED. Please send all of this with your report."),
    }
    Ok(failed == 0)
}

async fn find(name: &str) -> Result<wgpu::Adapter, Box<dyn std::error::Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    if name.is_empty() {
        let power_preference = wgpu::PowerPreference::HighPerformance;
        let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
        return Ok(instance.request_adapter(&options).await?);
    }
    let adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    let found = adapters.into_iter().zip(&names).find(|(_, n)| n.to_lowercase().contains(&name.to_lowercase()));
    found.map(|(adapter, _)| adapter).ok_or_else(|| format!("no adapter named {name:?}: there are {names:?}").into())
}

fn describe(adapter: &wgpu::Adapter) {
    let info = adapter.get_info();
    println!("\n{} ({:?}), {}", info.name, info.device_type, info.backend);
    println!("  vendor {:#06x}, device {:#06x}, PCI bus {:?}", info.vendor, info.device, info.device_pci_bus_id);
    println!("  driver {} {}", info.driver, info.driver_info);
    println!("  subgroups of {} to {} invocations", info.subgroup_min_size, info.subgroup_max_size);
    println!("  features {}", adapter.features());
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

/// Runs the cases and prints how they went; returns how many failed.
fn check(title: &str, gpu: &Gpu, cases: &[&Case], falsify: bool) -> usize {
    println!("\n{title}; device features {}", gpu.device().features());
    println!("{:<56}{:>6}{:>12}{:>9}", "", "ops", "error/bound", "seconds");
    let mut failed = 0;
    for case in cases {
        // Where a driver crashes, the last line is the culprit's.
        print!("{:<56}", case.name.replace('_', " "));
        let _ = std::io::stdout().flush();
        let start = Instant::now();
        let mut check = Check::new(gpu, falsify);
        if let Err(error) = (case.run)(&mut check) {
            check.faults.push(error.to_string());
        }
        let verdict = if check.faults.is_empty() { "pass" } else { "FAIL" };
        let seconds = start.elapsed().as_secs_f64();
        let worst = if check.worst < 1e3 { format!("{:.3}", check.worst) } else { format!("{:.0e}", check.worst) };
        println!("{:>6}{worst:>12}{seconds:>9.2}  {verdict}", check.compared);
        check.faults.iter().take(SHOWN).for_each(|fault| println!("    {fault}"));
        if check.faults.len() > SHOWN {
            println!("    and {} more", check.faults.len() - SHOWN);
        }
        failed += usize::from(!check.faults.is_empty());
    }
    failed
}
