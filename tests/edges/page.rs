//! The page: tables of results in f64, and whether the GPU and the CPU agree.

use std::fmt::Write;
use std::path::Path;

/// The text above the first section.
const INTRODUCTION: &str = "\
# Edge cases of floating-point inputs

This page shows wgrad's results for inputs that are very large, very small, equal, infinite or NaN. Use it to find the
cause of a NaN, of a constant loss, or of a difference from another engine.

`tests/edges` computes every table in f64, on the GPU and on the CPU. The test fails if this page differs.

- The columns \"f64\" contain the value of the formula in f64. For NaN and infinite inputs they contain the result of
  IEEE arithmetic.
- \"right\" means that the device's result is within the tolerance of the section. Otherwise the result itself is shown.
- Results below 1.2e-38 may be flushed to 0.
- WGSL allows drivers to assume that NaN and infinity do not occur. The rows with NaN and infinite inputs hold for
  drivers that keep these values, such as lavapipe.
";

/// A section of the page.
pub struct Section {
    pub title: &'static str,
    /// Explanation and tolerance.
    pub text: String,
    pub tables: Vec<Table>,
}

/// A table of the page.
pub struct Table {
    /// The text above the table; may be empty.
    pub text: String,
    /// Heading of the first column: the input.
    pub input: &'static str,
    /// The outputs; each has a column of f64 values.
    pub outputs: Vec<&'static str>,
    pub lines: Vec<Line>,
}

/// An input and its outputs.
pub struct Line {
    pub input: String,
    pub values: Vec<Value>,
    /// Whether the page shows the line. Lines that are not shown must be right on both devices.
    pub shown: bool,
}

/// One output in f64, on the GPU and on the CPU.
#[derive(Debug, Clone, Copy)]
pub struct Value {
    pub exact: f64,
    pub gpu: f32,
    pub cpu: f32,
    /// Tolerance. The smallest normal number is added to it.
    pub off: f64,
}

impl Value {
    /// Whether a device's result is within the tolerance.
    pub fn is_right(&self, got: f32) -> bool {
        let rounded = self.exact as f32;
        let (got, exact) = (f64::from(got), self.exact);
        // A value that rounds to infinity in f32 must be infinite.
        if rounded.is_nan() || rounded.is_infinite() {
            return got.is_nan() == exact.is_nan() && (got.is_nan() || got == f64::from(rounded));
        }
        (got - exact).abs() <= self.off + f64::from(f32::MIN_POSITIVE)
    }
}

/// A number with few digits, for the page: 0, 1, -2.5, 1.6e-9.
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

/// A table cell of a device.
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

/// Compares the computed page with the file, or writes the file.
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
            "{section}: docs/edge-cases.md (right) differs from the results (left); WGRAD_WRITE_EDGES=1 rewrites the page"
        );
    }
    assert_eq!(
        page.lines().count(),
        file.lines().count(),
        "docs/edge-cases.md has another number of lines; WGRAD_WRITE_EDGES=1 rewrites the page"
    );
}
