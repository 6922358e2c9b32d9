//! Tests properties of the source code as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The Rust files of a folder and its subfolders.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The code of a file, without comments and unit tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("mod tests {").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn word(text: &str) -> &str {
    words(text).next().unwrap()
}

/// The top-level modules that each top-level module uses: by `crate::` paths, or by names that `lib.rs` exports.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = code(&root.join("lib.rs"));
    let exported = lib.split("pub use ").skip(1).filter_map(|line| line.split_once(';')?.0.split_once("::"));
    let exports: Vec<(&str, Vec<&str>)> = exported.map(|(module, list)| (module, words(list).collect())).collect();
    let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
    for path in files(&root) {
        let inside = path.strip_prefix(&root).unwrap();
        let module = word(inside.iter().next().unwrap().to_str().unwrap()).to_owned();
        if module == "lib" || inside.iter().any(|part| part == "tests" || part == "tests.rs") {
            continue;
        }
        let code = code(&path);
        for name in code.split("crate::").skip(1).map(word) {
            assert!(!name.is_empty(), "{}: `crate::` before a brace hides what is used", inside.display());
            let of = exports.iter().find(|(_, names)| names.contains(&name)).map_or(name, |(module, _)| module);
            if of != module {
                uses.entry(module.clone()).or_default().insert(of.into());
            }
        }
    }
    uses
}

/// The dependencies of the modules must form no cycle.
#[test]
fn modules_form_no_circles() {
    let mut uses = uses();
    assert!(uses["trainer"].contains("device") && uses["files"].contains("trainer"), "{uses:?}");
    // Removes modules whose dependencies are all removed. Any modules left form a cycle.
    while let Some(done) = uses.keys().find(|module| uses[*module].iter().all(|used| !uses.contains_key(used))) {
        let done = done.clone();
        uses.remove(&done);
    }
    assert!(uses.is_empty(), "among these is a circle: {uses:#?}");
}

#[test]
fn no_file_is_longer_than_450_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lines = |path: &PathBuf| std::fs::read_to_string(path).unwrap().lines().count();
    let longer: Vec<_> = files(&root).into_iter().filter(|path| lines(path) > 450).collect();
    assert!(longer.is_empty(), "{longer:?}");
}
