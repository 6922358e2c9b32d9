//! What the pages beside this need to be tried, and only that: `wasm-bindgen` as a program of the right version, a server on
//! localhost, and Chromium, which opens a page until the page says that it is done.
//!
//!     pages bind FILE.wasm FOLDER            writes what a page imports: FOLDER/browser.js and FOLDER/browser_bg.wasm
//!     pages serve FOLDER                     serves a folder on http://localhost:8000
//!     pages open FOLDER PAGE [SECONDS]       opens FOLDER/PAGE in Chromium without a window (`index.html?epochs=20`)
//!     pages open-http FOLDER PAGE [SECONDS]  the same by http from a host that is not this one, where there is no WebGPU
//!
//! `open` fails where the page says that it failed, does not end within SECONDS (60), or where the console has a warning or an
//! error, also of a worker's. A page says how it went in `document.body.dataset.outcome`: "done" or "failed".

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

/// What `wasm-bindgen --target web --out-dir FOLDER FILE.wasm` does.
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
        return Err(format!("{page} was to be done, and is: {}", visit.outcome).into());
    }
    match visit.complaints {
        0 => Ok(()),
        n => Err(format!("{page}: {n} warnings or errors on the console, expected none").into()),
    }
}
