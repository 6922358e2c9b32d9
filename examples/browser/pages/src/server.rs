//! A web server for the files of a folder, on localhost only. Browsers allow WebGPU on localhost, as on https.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::thread::JoinHandle;

use crate::Result;

pub struct Server {
    pub port: u16,
    thread: JoinHandle<()>,
}

impl Server {
    /// Port 0 chooses a free port.
    pub fn start(folder: &str, port: u16) -> Result<Self> {
        let folder = PathBuf::from(folder);
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|e| format!("port {port} of localhost: {e}"))?;
        let port = listener.local_addr()?.port();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let folder = folder.clone();
                // Ignore errors of clients that disconnect.
                std::thread::spawn(move || drop(answer(stream, &folder)));
            }
        });
        Ok(Self { port, thread })
    }

    pub fn wait(self) {
        drop(self.thread.join());
    }
}

fn answer(mut stream: TcpStream, folder: &Path) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    // Skip the headers, which end with an empty line.
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = request.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/").trim_start_matches('/');
    let path = Path::new(if path.is_empty() { "index.html" } else { path });
    let stays_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    let (status, body) = match std::fs::read(folder.join(path)) {
        Ok(body) if stays_inside => ("200 OK", body),
        // Browsers request this file and report an error if it is missing.
        _ if path.ends_with("favicon.ico") => ("204 No Content", vec![]),
        _ => ("404 Not Found", vec![]),
    };
    let kind = match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    Ok(stream.write_all(&body)?)
}
