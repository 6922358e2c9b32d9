//! Controls a headless Chromium through two pipes, with the DevTools protocol.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;

/// Names of the executable on different systems.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

const FLAGS: [&str; 6] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP unprotected.test 127.0.0.1",
];

/// A host name of this machine other than `localhost`. Browsers give no WebGPU to its http pages.
pub const UNPROTECTED: &str = "unprotected.test";

/// Flags for WebGPU on SwiftShader, which runs on the CPU. `CHROMIUM_FLAGS` replaces them.
const WEBGPU: &str = "--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader --enable-features=Vulkan";

/// The result of opening a page.
pub struct Visit {
    /// The outcome that the page sets, or the reason why there is none.
    pub outcome: String,
    /// The visible text at the end.
    pub text: String,
    pub console: Vec<String>,
    /// Number of warnings and errors in the console.
    pub complaints: usize,
}

pub fn visit(url: &str, limit: Duration) -> Result<Visit> {
    let start = Instant::now();
    let mut browser = Browser::start()?;
    let target = browser.call(None, "Target.createTarget", json!({ "url": "about:blank" }))?;
    let attach = json!({ "targetId": target["targetId"], "flatten": true });
    let session = browser.call(None, "Target.attachToTarget", attach)?["sessionId"].clone();
    let session = session.as_str().ok_or("Chromium gave no session")?.to_owned();
    browser.listen(&session)?;
    browser.call(Some(&session), "Page.navigate", json!({ "url": url }))?;
    let mut outcome = Value::Null;
    while outcome.is_null() && start.elapsed() < limit {
        browser.idle(Duration::from_millis(100))?;
        outcome = browser.evaluate(&session, "document.body?.dataset.outcome ?? null")?;
    }
    let text = browser.evaluate(&session, "document.body?.innerText ?? ''")?.as_str().unwrap_or_default().to_owned();
    // Wait for messages that have not arrived yet.
    browser.idle(Duration::from_millis(200))?;
    let outcome = outcome.as_str().map_or(format!("no outcome after {} s", limit.as_secs()), str::to_owned);
    let (console, complaints) = (std::mem::take(&mut browser.console), browser.complaints);
    Ok(Visit { outcome, text, console, complaints })
}

struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    profile: PathBuf,
    calls: u64,
    console: Vec<String>,
    complaints: usize,
}

impl Browser {
    fn start() -> Result<Self> {
        let given = std::env::var("CHROMIUM").ok();
        let is_there = |name: &&str| {
            std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|p| p.join(name).is_file()))
        };
        let name = given.as_deref().or_else(|| NAMES.into_iter().find(is_there)).ok_or("Chromium is not installed")?;
        let profile = std::env::temp_dir().join(format!("wgrad-pages-{}", std::process::id()));
        // Chromium reads commands from file descriptor 3 and answers on file descriptor 4.
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#, name]).args(FLAGS);
        command.arg(format!("--user-data-dir={}", profile.display()));
        // Chromium does not start as root with a sandbox.
        command.args((std::env::var("USER").as_deref() == Ok("root") || is_root()).then_some("--no-sandbox"));
        command.args(std::env::var("CHROMIUM_FLAGS").as_deref().unwrap_or(WEBGPU).split_whitespace());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, out) = (child.stdin.take().ok_or("no pipe")?, child.stdout.take().ok_or("no pipe")?);
        let (send, from) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(out).split(0).map_while(std::result::Result::ok) {
                if serde_json::from_slice(&message).map(|message| send.send(message)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, to, from, profile, calls: 0, console: vec![], complaints: 0 })
    }

    fn send(&mut self, session: Option<&str>, method: &str, params: Value) -> Result<u64> {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = session {
            call["sessionId"] = session.into();
        }
        self.to.write_all(call.to_string().as_bytes())?;
        self.to.write_all(&[0])?;
        self.to.flush()?;
        Ok(self.calls)
    }

    fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Result<Value> {
        let id = self.send(session, method, params)?;
        let limit = Duration::from_secs(60);
        loop {
            let message = self.from.recv_timeout(limit).map_err(|_| format!("Chromium did not answer to {method}"))?;
            if message["id"] == id {
                return match message.get("error") {
                    Some(error) => Err(format!("{method}: {error}").into()),
                    None => Ok(message["result"].clone()),
                };
            }
            self.hear(&message)?;
        }
    }

    fn evaluate(&mut self, session: &str, expression: &str) -> Result<Value> {
        let params = json!({ "expression": expression, "returnByValue": true });
        Ok(self.call(Some(session), "Runtime.evaluate", params)?["result"]["value"].clone())
    }

    /// Subscribes to the console of a page or a worker, and of its workers.
    fn listen(&mut self, session: &str) -> Result<()> {
        let workers = json!({ "autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true });
        self.send(Some(session), "Target.setAutoAttach", workers)?;
        self.send(Some(session), "Runtime.enable", json!({}))?;
        self.send(Some(session), "Log.enable", json!({}))?;
        Ok(())
    }

    fn idle(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if let Ok(message) = self.from.recv_timeout(left) {
                self.hear(&message)?;
            }
        }
        Ok(())
    }

    /// Stores the console message of an event.
    fn hear(&mut self, message: &Value) -> Result<()> {
        let params = &message["params"];
        let (level, text) = match message["method"].as_str() {
            Some("Target.attachedToTarget") => {
                let session = params["sessionId"].as_str().unwrap_or_default().to_owned();
                return self.listen(&session);
            }
            Some("Runtime.consoleAPICalled") => {
                let said = params["args"].as_array().into_iter().flatten();
                let said = said.map(|arg| arg["value"].as_str().map_or(arg["description"].to_string(), str::to_owned));
                (params["type"].as_str().unwrap_or_default(), said.collect::<Vec<_>>().join(" "))
            }
            Some("Runtime.exceptionThrown") => ("error", params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") => {
                let entry = &params["entry"];
                (entry["level"].as_str().unwrap_or_default(), format!("{} {}", entry["text"], entry["url"]))
            }
            Some("Inspector.targetCrashed") => ("error", "the page crashed".into()),
            _ => return Ok(()),
        };
        self.complaints += usize::from(matches!(level, "warning" | "error" | "assert"));
        self.console.push(format!("{level}: {text}"));
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium closes its child processes. Killing it would leave them running.
        let closed = self.send(None, "Browser.close", json!({})).is_ok();
        let end = Instant::now() + Duration::from_secs(if closed { 5 } else { 0 });
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.profile));
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
