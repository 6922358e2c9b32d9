//! Deletes temporary files that killed processes have left.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::is_gone;

/// Age after which a temporary file of any machine is deleted, because nothing has written to it.
const OLD: Duration = Duration::from_secs(60 * 60);

const PREFIX: &str = ".wgrad-";
const SUFFIX: &str = ".tmp";

/// The name of this process's temporary file with this number: `.wgrad-PLACE-PROCESS-NUMBER.tmp`.
pub(super) fn name(number: u32) -> String {
    format!("{PREFIX}{}-{}-{number}{SUFFIX}", place(), std::process::id())
}

/// Identifies this machine among those that share a folder. Process ids are unique only on one machine.
fn place() -> &'static str {
    static PLACE: OnceLock<String> = OnceLock::new();
    PLACE.get_or_init(|| {
        let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let numbers = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let bytes = boot.iter().chain(numbers.as_os_str().as_encoded_bytes());
        let hash = bytes.fold(0x811c_9dc5u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        format!("{hash:08x}")
    })
}

/// Deletes the temporary files in a folder whose process has ended, or that are old. Files that cannot be deleted
/// stay.
pub(super) fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(maker) = name.to_str().and_then(maker) else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        let gone = maker.is_some_and(is_gone);
        if metadata.is_file() && (gone || age > OLD) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The process that made the temporary file of this name, `Some(None)` if on another machine. `None` for other files.
/// Also reads the names of earlier versions, `.wgrad-PROCESS-NUMBER.tmp`.
fn maker(name: &str) -> Option<Option<u32>> {
    let parts: Vec<&str> = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split('-').collect();
    let number = |text: &str| text.parse::<u32>().ok();
    match parts[..] {
        [process, count] => number(count).and(number(process)).map(Some),
        [from, process, count] => {
            let process = number(count).and(number(process))?;
            Some((from == place()).then_some(process))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_files_that_nobody_writes_to_are_removed() {
        let folder = std::env::temp_dir().join(format!("wgrad-stale-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        // Larger than any process id.
        let (gone, own) = (u32::MAX, std::process::id());
        let ours = |process: u32| format!(".wgrad-{}-{process}-0.tmp", place());
        let stale = [ours(gone), format!(".wgrad-{gone}-3.tmp")];
        let kept = [
            ours(own),
            name(7),
            format!(".wgrad-{own}-0.tmp"),
            format!(".wgrad-elsewhere-{gone}-0.tmp"),
            ".wgrad-notes.tmp".into(),
            "wgrad.tmp".into(),
            format!(".other-{gone}-0.tmp"),
        ];
        let old = [format!(".wgrad-elsewhere-{gone}-1.tmp"), ours(own).replace("-0.", "-1.")];
        for name in stale.iter().chain(&kept).chain(&old) {
            fs::write(folder.join(name), "x").unwrap();
        }
        for name in &old {
            let file = fs::File::options().write(true).open(folder.join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - 2 * OLD).unwrap();
        }
        fs::create_dir(folder.join(format!(".wgrad-{gone}-9.tmp"))).unwrap();
        crate::disk::write(&folder.join("file"), b"new").unwrap();
        let exists = |name: &String| folder.join(name).exists();
        assert!(kept.iter().all(exists));
        assert!(!old.iter().any(exists));
        assert!(folder.join(format!(".wgrad-{gone}-9.tmp")).exists());
        assert!(!cfg!(target_os = "linux") || !stale.iter().any(exists));
        fs::remove_dir_all(&folder).unwrap();
    }
}
