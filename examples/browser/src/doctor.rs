//! Every kernel on the browser's GPU and on the CPU reference, as the example `doctor` has it elsewhere: for `doctor.html`.

use wasm_bindgen::prelude::*;
use wgrad::{Gpu, Products};

use crate::cases::{CASES, Case, Check};
use crate::{of, thrown};

/// Families of kernels that make products without features.
const FAMILIES: [Products; 5] = [Products::Tiled, Products::Split, Products::Large, Products::Vector, Products::Plain];

/// Faults of a case that are shown.
const SHOWN: usize = 3;

/// Runs the cases whose name, or one of whose kernels, contains one of the words of `wanted`, which commas separate: all where it
/// is empty. Calls `say` with a line for each, and with how many are done and of how many. With `falsify` an input of each is
/// made wrong on the GPU, which every case is to notice; with `quick` only the kernels run that wgrad chooses itself. Returns
/// how many did not go as they should.
#[wasm_bindgen]
pub async fn examine(wanted: String, quick: bool, falsify: bool, say: js_sys::Function) -> Result<u32, JsValue> {
    let words: Vec<&str> = wanted.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let is_wanted = |case: &&Case| {
        let has = |word: &&str| case.name.contains(&word.replace(' ', "_")) || case.kernels.contains(word);
        words.is_empty() || words.iter().any(has)
    };
    let families = || std::iter::once(None).chain(FAMILIES.map(Some).into_iter().filter(|_| !quick));
    let of_family = |family: Option<Products>| {
        let makes_products = move |case: &&Case| family.is_none() || case.kernels.contains(&"matmul");
        CASES.iter().filter(is_wanted).filter(makes_products)
    };
    let all: usize = families().map(|family| of_family(family).count()).sum();
    if all == 0 {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        return Err(thrown("InvalidOption", &format!("no case is named {wanted}: there are {}", names.join(", "))));
    }
    let (mut done, mut failed) = (0, 0);
    for family in families() {
        let gpu = Gpu::request_async().await.map_err(of)?;
        let gpu = family.into_iter().fold(gpu, Gpu::with_products);
        let say = |line: &str, done: usize| {
            // A page that throws here has only itself to tell.
            drop(say.call3(&JsValue::UNDEFINED, &line.into(), &(done as u32).into(), &(all as u32).into()));
        };
        if family.is_none() {
            adapter(&gpu).iter().for_each(|line| say(line, done));
        }
        say(&family.map_or("Kernels that wgrad chooses".into(), |f| format!("Products of the family {f:?}")), done);
        for case in of_family(family) {
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

/// What a browser tells of its GPU, a line each.
fn adapter(gpu: &Gpu) -> Vec<String> {
    let info = gpu.adapter_info();
    let limits = gpu.device().limits();
    let lines = [
        ("adapter", info.name.clone()),
        ("kind", format!("{:?}", info.device_type)),
        ("driver", format!("{} {}", info.driver, info.driver_info)),
        ("features", gpu.device().features().to_string()),
        ("longest buffer", format!("{} bytes", limits.max_buffer_size)),
        ("longest binding", format!("{} bytes", limits.max_storage_buffer_binding_size)),
    ];
    let known = lines.into_iter().filter(|(_, value)| !value.trim().is_empty());
    known.map(|(name, value)| format!("{name:<16} {value}")).collect()
}
