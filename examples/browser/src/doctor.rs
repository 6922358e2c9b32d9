//! For `doctor.html`: compares every kernel on the browser's GPU with the CPU reference, like the example `doctor`.

use wasm_bindgen::prelude::*;
use wgrad::Gpu;
use wgrad::plan::{K, MatmulKernel, Tile};

use crate::cases::{CASES, Case, Check};
use crate::{of, thrown};

/// Matmul kernels that need no optional features.
const MATMUL_KERNELS: [MatmulKernel; 6] = [
    MatmulKernel { tile: Tile::Square32, k: K::Whole },
    MatmulKernel { tile: Tile::Square32, k: K::Slices(4) },
    MatmulKernel { tile: Tile::Square32, k: K::Parts(8) },
    MatmulKernel { tile: Tile::Square64, k: K::Whole },
    MatmulKernel { tile: Tile::Vector { lanes: 64 }, k: K::Whole },
    MatmulKernel { tile: Tile::Plain, k: K::Whole },
];

/// Maximum number of faults shown for each case.
const SHOWN: usize = 3;

/// Runs test cases and returns the number of failures. `wanted` is a comma-separated list of words: a case runs if its
/// name or one of its kernels contains one of them. If it is empty, all cases run. `falsify` changes one input of each
/// case on the GPU; the comparison must then detect it. `quick` runs only the kernels that wgrad chooses. Calls `say`
/// with a line of the report, the number of finished cases, and the number of all cases.
#[wasm_bindgen]
pub async fn examine(wanted: String, quick: bool, falsify: bool, say: js_sys::Function) -> Result<u32, JsValue> {
    let words: Vec<&str> = wanted.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let is_wanted = |case: &&Case| {
        let has = |word: &&str| case.name.contains(&word.replace(' ', "_")) || case.kernels.contains(word);
        words.is_empty() || words.iter().any(has)
    };
    let kernels = || std::iter::once(None).chain(MATMUL_KERNELS.map(Some).into_iter().filter(|_| !quick));
    let of_kernel = |kernel: Option<MatmulKernel>| {
        let has_matmul = move |case: &&Case| kernel.is_none() || case.kernels.contains(&"matmul");
        CASES.iter().filter(is_wanted).filter(has_matmul)
    };
    let all: usize = kernels().map(|kernel| of_kernel(kernel).count()).sum();
    if all == 0 {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        return Err(thrown("InvalidOption", &format!("no case matches {wanted}; the cases are {}", names.join(", "))));
    }
    let (mut done, mut failed) = (0, 0);
    for kernel in kernels() {
        let gpu = Gpu::request_async().await.map_err(of)?;
        let gpu = kernel.into_iter().fold(gpu, Gpu::with_products);
        let say = |line: &str, done: usize| {
            // Ignore errors that the callback of the page throws.
            drop(say.call3(&JsValue::UNDEFINED, &line.into(), &(done as u32).into(), &(all as u32).into()));
        };
        if kernel.is_none() {
            adapter(&gpu).iter().for_each(|line| say(line, done));
        }
        say(&kernel.map_or("Kernels that wgrad chooses".into(), |kernel| format!("Matmul by {kernel:?}")), done);
        for case in of_kernel(kernel) {
            let mut check = Check::new(&gpu, falsify);
            if let Err(error) = (case.run)(&mut check) {
                check.faults.push(error.to_string());
            }
            check.finish().await.map_err(of)?;
            let passes = check.faults.is_empty() != falsify;
            let name = case.name.replace('_', " ");
            let verdict = if passes { "pass" } else { "FAIL" };
            done += 1;
            say(&format!("{name:<56}{:>6} ops, error/bound {:<8.3} {verdict}", check.compared, check.worst), done);
            if !passes {
                check.faults.iter().take(SHOWN).for_each(|fault| say(fault, done));
            }
            failed += u32::from(!passes);
        }
    }
    Ok(failed)
}

/// The browser's information about its GPU, one line for each item.
fn adapter(gpu: &Gpu) -> Vec<String> {
    let info = gpu.adapter_info();
    let limits = gpu.device().limits();
    let lines = [
        ("adapter", info.name.clone()),
        ("type", format!("{:?}", info.device_type)),
        ("driver", format!("{} {}", info.driver, info.driver_info)),
        ("features", gpu.device().features().to_string()),
        ("max buffer", format!("{} bytes", limits.max_buffer_size)),
        ("max binding", format!("{} bytes", limits.max_storage_buffer_binding_size)),
    ];
    let known = lines.into_iter().filter(|(_, value)| !value.trim().is_empty());
    known.map(|(name, value)| format!("{name:<16} {value}")).collect()
}
