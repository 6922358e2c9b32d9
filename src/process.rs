//! Other processes of this machine.

/// Whether a process of this machine has ended. False if this is unknown.
pub fn is_gone(process: u32) -> bool {
    let proc = std::path::Path::new("/proc");
    if process == std::process::id() || !proc.join("self/stat").exists() {
        return false;
    }
    match std::fs::read_to_string(proc.join(process.to_string()).join("stat")) {
        // The state follows the name in brackets. Z is a zombie: the process has ended, but its parent has not read
        // its exit status.
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}
