//! The page `docs/errors.md`: every call of the sections, with the kind and the text of its error.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use wgrad::Result;

/// The text above the first section.
const INTRODUCTION: &str = "\
# Errors

The texts of wgrad's errors, side by side, for those who look for the cause of one and for those who write a new one.

`tests/errors` makes every call below and fails if this page differs from what the library says. A text names the place,
then what was expected, what came, and what to do. The kind is the variant of `wgrad::Error`, as `Error::code` returns it.
";

/// Errors of one area.
pub struct Section {
    pub title: &'static str,
    pub lines: Vec<Line>,
}

/// A call in a few words, and its error.
pub struct Line {
    call: &'static str,
    kind: &'static str,
    text: String,
}

/// The error of a call. Its kind is [`NONE`] if the call succeeds.
pub fn line<T>(call: &'static str, result: Result<T>) -> Line {
    match result {
        Ok(_) => Line { call, kind: NONE, text: String::new() },
        Err(error) => Line { call, kind: error.code(), text: without_machine(&error.to_string()) },
    }
}

const NONE: &str = "none";

/// A folder for the files that tests write. The page calls it FOLDER.
pub fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("errors");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The text without paths of this machine. Of a compiler's message, only the first line stays.
fn without_machine(text: &str) -> String {
    let text = text.replace(&*folder().to_string_lossy(), "FOLDER");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.len() > 1 { format!("{} …", lines[0]) } else { text }
}

pub fn render(sections: &[Section]) -> String {
    let mut page = INTRODUCTION.to_owned();
    for Section { title, lines } in sections {
        write!(page, "\n## {title}\n\n| call | kind | text |\n|---|---|---|\n").unwrap();
        for Line { call, kind, text } in lines {
            let [call, text] = [*call, text.as_str()].map(|cell| cell.replace('|', "\\|"));
            writeln!(page, "| {call} | {kind} | {text} |").unwrap();
        }
    }
    page
}

/// Fails if a call has no error, or if no line has a variant of `Error`.
pub fn assert_every_kind(sections: &[Section]) {
    let lines = || sections.iter().flat_map(|section| &section.lines);
    let without: Vec<&str> = lines().filter(|line| line.kind == NONE).map(|line| line.call).collect();
    assert!(without.is_empty(), "calls without an error: {without:?}");
    let source = include_str!("../../src/error.rs");
    let codes = source.split_once("pub fn code(").unwrap().1.split_once("\n    }\n").unwrap().0;
    let all: BTreeSet<&str> = codes.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let found: BTreeSet<&str> = lines().map(|line| line.kind).collect();
    assert_eq!(found, all, "each kind of error is to be on docs/errors.md");
}

/// Compares the page with the file, or writes the file.
pub fn check(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    if std::env::var_os("WGRAD_WRITE_ERRORS").is_some() {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let file = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    for (is, says) in page.lines().zip(file.lines()) {
        assert_eq!(
            is, says,
            "docs/errors.md (right) differs from the library (left); WGRAD_WRITE_ERRORS=1 writes the page"
        );
    }
    assert_eq!(page.lines().count(), file.lines().count(), "docs/errors.md has other lines");
}
