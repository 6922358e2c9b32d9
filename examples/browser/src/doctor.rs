//! Every kernel on the browser's GPU and on the CPU reference, as the example `doctor` has it elsewhere: for `doctor.html`.

use wasm_bindgen::prelude::*;
use wgrad::{Gpu, Products};

use crate::cases::{CASES, Check};

/// Families of kernels that make products without features.
const FAMILIES: [Products; 5] = [Products::Tiled, Products::Split, Products::Large, Products::Vector, Products::Plain];

/// Faults of a case that are shown.
const SHOWN: usize = 3;

/// Runs every case and calls `say` with a line for each. With `falsify` an input of each is made wrong on the GPU, which every
/// case is to notice. Returns how many did not go as they should.
#[wasm_bindgen]
pub async fn examine(falsify: bool, say: js_sys::Function) -> Result<u32, JsError> {
    let mut failed = 0;
    for family in std::iter::once(None).chain(FAMILIES.map(Some)) {
        let gpu = Gpu::request_async().await?;
        let gpu = family.into_iter().fold(gpu, Gpu::with_products);
        let title = match family {
            None => format!("The kernels that wgrad chooses for {:?}", gpu.adapter_info()),
            Some(family) => format!("Products of the family {family:?}"),
        };
        let say = |line: &str| drop(say.call1(&JsValue::UNDEFINED, &line.into()));
        say(&title);
        for case in CASES.iter().filter(|case| family.is_none() || case.kernels.contains(&"matmul")) {
            let mut check = Check::new(&gpu, falsify);
            if let Err(error) = (case.run)(&mut check) {
                check.faults.push(error.to_string());
            }
            check.finish().await?;
            let passes = check.faults.is_empty() != falsify;
            let name = case.name.replace('_', " ");
            let verdict = if passes { "as it should" } else { "FAILED" };
            say(&format!("{name:<56}{:>6} ops, error/bound {:<8.3} {verdict}", check.compared, check.worst));
            if !passes {
                check.faults.iter().take(SHOWN).for_each(|fault| say(fault));
            }
            failed += u32::from(!passes);
        }
    }
    Ok(failed)
}
