//! The page: tables of what f64 says, and of whether the GPU and the CPU say the same.

use std::fmt::Write;
use std::path::Path;

/// What stands above the first section.
const INTRODUCTION: &str = "\
# Numbers at the edge

What wgrad computes from inputs that are very large, very small, equal, infinite or NaN. For those who look for the cause
of a NaN, of a loss that stands still, or of a difference to another engine.

`tests/edges` computes every table in f64, on the GPU and on the CPU, and fails where this page says anything else. The
column f64 has the value of the formula, and of NaN and infinite inputs what IEEE arithmetic makes of it. \"right\" means
within the tolerance that the section states; numbers below 1.2e-38 may be flushed to 0. Where a device gives something
else, it stands there.

WGSL lets drivers assume that no NaN and no infinity exists. The rows with NaN and infinite inputs say what the kernels
make of them where a driver keeps them, as lavapipe does.
";

/// A part of the page.
pub struct Section {
    pub title: &'static str,
    /// What a reader must know, and the tolerance.
    pub text: String,
    pub tables: Vec<Table>,
}

/// Lines of one thing.
pub struct Table {
    /// Stands above it; may be empty.
    pub text: String,
    /// The head of the first column: what is put in.
    pub input: &'static str,
    /// What comes out: a column of f64 values each.
    pub outputs: Vec<&'static str>,
    pub lines: Vec<Line>,
}

/// An input, and what comes out.
pub struct Line {
    pub input: String,
    pub values: Vec<Value>,
    /// Whether the page has it; the others must be right on both devices.
    pub shown: bool,
}

/// One number, three times.
#[derive(Debug, Clone, Copy)]
pub struct Value {
    pub exact: f64,
    pub gpu: f32,
    pub cpu: f32,
    /// How far from `exact` counts as right; the smallest normal number is added.
    pub off: f64,
}

impl Value {
    /// Whether a device's number is within the tolerance.
    pub fn is_right(&self, got: f32) -> bool {
        let rounded = self.exact as f32;
        let (got, exact) = (f64::from(got), self.exact);
        // What rounds to infinity in f32 is infinite there.
        if rounded.is_nan() || rounded.is_infinite() {
            return got.is_nan() == exact.is_nan() && (got.is_nan() || got == f64::from(rounded));
        }
        (got - exact).abs() <= self.off + f64::from(f32::MIN_POSITIVE)
    }
}

/// A number in few digits, so that the page is readable: 0, 1, -2.5, 1.6e-9.
pub fn short(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let digits = format!("{value:.3e}");
    let (digits, exponent) = digits.split_once('e').expect("an exponent");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    match exponent.parse::<i32>().expect("a whole number") {
        0 => digits.replace("-0", "0").replace("00", "0"),
        e @ (-3..=4) => {
            let rounded: f64 = format!("{digits}e{e}").parse().expect("a number");
            rounded.to_string()
        }
        e => format!("{digits}e{e}"),
    }
}

/// A cell of a device.
fn cell(line: &Line, got: impl Fn(&Value) -> f32) -> String {
    if line.values.iter().all(|value| value.is_right(got(value))) {
        return "right".into();
    }
    let numbers = line.values.iter().map(|value| match value.is_right(got(value)) {
        true => "right".into(),
        false => short(got(value).into()),
    });
    numbers.collect::<Vec<_>>().join(", ")
}

pub fn render(sections: &[Section]) -> String {
    let mut page = INTRODUCTION.to_owned();
    for Section { title, text, tables } in sections {
        write!(page, "\n## {title}\n\n{}\n", text.trim()).unwrap();
        for Table { text, input, outputs, lines } in tables {
            if !text.is_empty() {
                write!(page, "\n{}\n", text.trim()).unwrap();
            }
            let heads: Vec<String> = outputs.iter().map(|output| format!("{output}, f64")).collect();
            write!(page, "\n| {input} | {} | GPU | CPU |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len() + 3))
                .unwrap();
            for line in lines {
                assert_eq!(line.values.len(), outputs.len(), "{input} {}", line.input);
                if !line.shown {
                    let right = |value: &Value| value.is_right(value.gpu) && value.is_right(value.cpu);
                    assert!(line.values.iter().all(right), "{title}: {text}: {} {:?}", line.input, line.values);
                    continue;
                }
                let exact: Vec<String> = line.values.iter().map(|value| short(value.exact)).collect();
                let (gpu, cpu) = (cell(line, |value| value.gpu), cell(line, |value| value.cpu));
                writeln!(page, "| {} | {} | {gpu} | {cpu} |", line.input, exact.join(" | ")).unwrap();
            }
        }
    }
    page
}

/// Compares what came out with the file, or writes the file.
pub fn check(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/edge-cases.md");
    if std::env::var_os("WGRAD_WRITE_EDGES").is_some() {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let file = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let mut section = "";
    for (is, says) in page.lines().zip(file.lines()) {
        if is.starts_with("## ") {
            section = is;
        }
        assert_eq!(
            is, says,
            "{section}: docs/edge-cases.md (right) says otherwise than what runs (left); WGRAD_WRITE_EDGES=1 writes the page anew"
        );
    }
    assert_eq!(page.lines().count(), file.lines().count(), "docs/edge-cases.md has other lines");
}
