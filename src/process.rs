//! Other processes of this machine.

/// Whether a process of this machine has ended. Where that cannot be told, no.
pub fn is_gone(process: u32) -> bool {
    let proc = std::path::Path::new("/proc");
    if process == std::process::id() || !proc.join("self/stat").exists() {
        return false;
    }
    match std::fs::read_to_string(proc.join(process.to_string()).join("stat")) {
        // The state follows the name, which is in brackets: one that has ended may wait to be asked for its exit status.
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}
