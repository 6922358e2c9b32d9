//! Tools to try the pages in this example: `wasm-bindgen` in the right version, a web server on localhost, and a
//! command that opens a page in Chromium.
//!
//!     pages bind FILE.wasm FOLDER            writes FOLDER/browser.js and FOLDER/browser_bg.wasm, which a page imports
//!     pages serve FOLDER                     serves a folder on http://localhost:8000
//!     pages open FOLDER PAGE [SECONDS]       opens FOLDER/PAGE in headless Chromium (`index.html?epochs=20`)
//!     pages open-http FOLDER PAGE [SECONDS]  the same from a host other than localhost, without WebGPU
//!
//! `open` fails if the page reports a failure, if it does not finish within SECONDS (default: 60), or if the console of
//! the page or of a worker has a warning or an error. A page reports in `document.body.dataset.outcome`: "done" or
//! "failed".

mod chromium;
mod server;

use std::process::ExitCode;
use std::time::Duration;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ran = match args.as_slice() {
        ["bind", wasm, folder] => bind(wasm, folder),
        ["serve", folder] => server::Server::start(folder, 8000).map(|server| {
            println!("http://localhost:{}", server.port);
            server.wait();
        }),
        ["open" | "open-http", folder, page] => open(folder, page, 60, args[0] == "open"),
        ["open" | "open-http", folder, page, seconds] => match seconds.parse() {
            Ok(seconds) => open(folder, page, seconds, args[0] == "open"),
            Err(_) => Err(format!("SECONDS: expected a whole number, got {seconds}").into()),
        },
        _ => Err("expected bind FILE.wasm FOLDER, serve FOLDER, or open (or open-http) FOLDER PAGE [SECONDS]".into()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pages: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the same as `wasm-bindgen --target web --out-dir FOLDER FILE.wasm`.
fn bind(wasm: &str, folder: &str) -> Result<()> {
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    bindgen.input_path(wasm).typescript(false).omit_default_module_path(false).web(true).map_err(|e| e.to_string())?;
    bindgen.generate(folder).map_err(|e| format!("{e:#}").into())
}

fn open(folder: &str, page: &str, seconds: u64, protected: bool) -> Result<()> {
    let server = server::Server::start(folder, 0)?;
    let host = if protected { "localhost" } else { chromium::UNPROTECTED };
    let url = format!("http://{host}:{}/{page}", server.port);
    let visit = chromium::visit(&url, Duration::from_secs(seconds))?;
    println!("{page}: {}\n{}", visit.outcome, visit.text.trim());
    for line in &visit.console {
        eprintln!("console: {line}");
    }
    if visit.outcome != "done" {
        return Err(format!("{page}: expected the outcome done, got {}", visit.outcome).into());
    }
    match visit.complaints {
        0 => Ok(()),
        n => Err(format!("{page}: {n} warnings or errors on the console, expected none").into()),
    }
}
