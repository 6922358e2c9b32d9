//! The results as tables in Markdown.

use std::fmt::Write;

use crate::results::{Builds, Circumstances, Job, LEARNING_STEPS, Peer, Program, Results, Run, median};
use compare::benchmarks;
use compare::engines::{BASE, FLOOR};

/// Relative difference from wgrad's loss that is reported. Rounding causes about 0.1%.
const SAME_LOSS: f64 = 0.01;

/// Name of the program with wgpu alone in the table of builds.
pub const WGPU_PROGRAM: &str = "wgpu";

pub fn markdown(results: &Results) -> String {
    let mut text = "<!-- Written by `compare`; see README.md in this folder. -->\n".to_string();
    for run in &results.runs {
        text += &of_run(run);
    }
    if let Some(builds) = &results.builds {
        text += &of_builds(builds);
    }
    text
}

/// The contents of one table: all engines at the driver's default vector width, or the GPU engines at another width.
pub struct Field<'a> {
    pub base: &'a Peer,
    pub peers: Vec<&'a Peer>,
    pub vector_width: Option<u32>,
}

impl Run {
    pub fn fields(&self) -> Vec<Field<'_>> {
        let mut widths: Vec<Option<u32>> = self.peers.iter().map(|p| p.vector_width).collect();
        widths.dedup();
        widths.iter().filter_map(|&width| self.field(width)).collect()
    }

    fn field(&self, vector_width: Option<u32>) -> Option<Field<'_>> {
        let has_own = |name: &str| self.peers.iter().any(|p| p.name == name && p.vector_width == vector_width);
        let is_of_it = |p: &&Peer| p.vector_width == vector_width || (p.vector_width.is_none() && !has_own(&p.name));
        let peers: Vec<&Peer> = self.peers.iter().filter(is_of_it).collect();
        let base = peers.iter().find(|p| p.name == BASE && p.vector_width == vector_width)?;
        Some(Field { base, peers, vector_width })
    }

    /// The jobs and batch sizes that were measured for wgrad.
    pub fn jobs(&self) -> Vec<(Job, usize)> {
        let base = self.peers.iter().find(|p| p.name == BASE);
        base.map_or(Vec::new(), |p| p.measured.iter().map(|m| (m.job, m.batch)).collect())
    }
}

fn of_run(run: &Run) -> String {
    let layers = benchmarks::find(&run.network).map_or("", |benchmark| benchmark.layers);
    let mut text = format!("\n## {}\n\n{layers}.\n", run.network);
    for field in run.fields() {
        text += &speeds(run, &field);
    }
    text + &losses(run) + &notes(run)
}

fn caption(text: &mut String, c: &Circumstances, rest: &str) {
    let revision = c.revision.as_ref().map_or(String::new(), |revision| format!(", revision {revision}"));
    let _ = write!(text, "\n{}{revision}, {}, `{}`. {rest}\n\n", c.date, c.machine, c.command);
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

fn header(names: Vec<String>) -> String {
    let line = names.iter().map(|_| "---".to_string()).collect::<Vec<_>>();
    row(names) + &row(line)
}

fn speeds(run: &Run, field: &Field) -> String {
    let mut text = String::new();
    let width =
        field.vector_width.map_or(String::new(), |w| format!("GPU engines with `LP_NATIVE_VECTOR_WIDTH={w}`. "));
    let rest = format!(
        "GPU engines on {}. {width}Samples/s (medians); in brackets: speed relative to wgrad in the same run. First step: seconds \
         after the start of the process, batch {}. Cold: nothing cached on disk. Warm: with the caches of earlier runs.",
        run.adapter, run.standard
    );
    caption(&mut text, &run.circumstances, &rest);
    let jobs = run.jobs();
    let mut names = vec!["engine".to_string()];
    names.extend(jobs.iter().map(|(job, batch)| format!("{job}, batch {batch}")));
    names.extend(["first step, cold", "warm", "peak memory"].map(Into::into));
    text += &header(names);
    for peer in &field.peers {
        let mut cells = vec![name(peer)];
        for &(job, batch) in &jobs {
            cells.push(match (peer.measured(job, batch), field.base.measured(job, batch)) {
                (Some(own), Some(base)) => {
                    format!("{} ({})", thousands(own.throughput()), factor(own.speed_beside(base)))
                }
                _ => "–".into(),
            });
        }
        let cold = (!peer.cold_first_step.is_empty()).then(|| median(&peer.cold_first_step));
        cells.extend([cold, peer.warm_first_step].map(|s| s.map_or("–".into(), |s| format!("{s:.2} s"))));
        cells.push(peer.peak_memory.map_or("–".into(), |b| format!("{:.0} MB", b as f64 / 1e6)));
        text += &row(cells);
    }
    text
}

fn losses(run: &Run) -> String {
    let mut text = format!(
        "\nLosses, to check that all engines compute the same. Training: loss of the first batch of test rows after 1 and after \
         {LEARNING_STEPS} steps from the same weights. Forward: loss with the initial weights.\n\n"
    );
    let jobs = run.jobs();
    let mut names = vec!["engine".to_string()];
    names.extend(jobs.iter().map(|(job, batch)| format!("{job}, batch {batch}")));
    text += &header(names);
    let Some(base) = run.peers.iter().find(|p| p.name == BASE) else { return text };
    for peer in run.peers.iter().filter(|p| p.name != FLOOR) {
        let mut cells = vec![name(peer)];
        for &(job, batch) in &jobs {
            cells.push(match (peer.measured(job, batch), base.measured(job, batch)) {
                (Some(own), Some(base)) => {
                    let same = |(a, b): (&f64, &f64)| (a - b).abs() <= SAME_LOSS * b;
                    let differs = !own.losses.iter().zip(&base.losses).all(same);
                    let losses: Vec<String> = own.losses.iter().map(|l| format!("{l:.4}")).collect();
                    losses.join(", ") + if differs { " **differs**" } else { "" }
                }
                _ => "–".into(),
            });
        }
        text += &row(cells);
    }
    text
}

fn notes(run: &Run) -> String {
    let mut lines: Vec<String> = run.absent.iter().map(|a| format!("- left out: {}: {}\n", a.name, a.why)).collect();
    let adapter_of = |peer: &Peer| {
        let own = |p: &&Peer| p.name == BASE && p.vector_width == peer.vector_width;
        run.peers.iter().find(own).map_or("", |base| &base.device).to_string()
    };
    for peer in &run.peers {
        if !peer.device.is_empty() && !peer.device.starts_with("CPU") && peer.device != adapter_of(peer) {
            lines.push(format!("- {} ran on another adapter: {}\n", name(peer), peer.device));
        }
        lines.extend(peer.failures.iter().map(|failure| format!("- {}: {failure}\n", name(peer))));
    }
    if lines.is_empty() { String::new() } else { format!("\n{}", lines.concat()) }
}

fn of_builds(builds: &Builds) -> String {
    let mut text = "\n## Builds\n".to_string();
    caption(
        &mut text,
        &builds.circumstances,
        "Minimal programs that train (hello/): clean release builds, sources already downloaded. In brackets: relative to a \
         program with wgpu alone.",
    );
    text += &header(["program", "clean build", "packages compiled", "executable"].map(Into::into).into());
    let alone = builds.programs.iter().find(|p| p.name == WGPU_PROGRAM);
    let beside = |value: f64, of: fn(&Program) -> f64| {
        alone.map_or(String::new(), |alone| format!(" ({})", factor(value / of(alone))))
    };
    for p in &builds.programs {
        text += &row([
            p.name.clone(),
            format!("{:.0} s{}", p.seconds, beside(p.seconds, |p| p.seconds)),
            format!("{}{}", p.crates, beside(p.crates as f64, |p| p.crates as f64)),
            format!("{:.1} MB{}", p.bytes as f64 / 1e6, beside(p.bytes as f64, |p| p.bytes as f64)),
        ]);
    }
    text
}

pub fn name(peer: &Peer) -> String {
    let width = peer.vector_width.map_or(String::new(), |bits| format!(", {bits} bits"));
    let version = peer.version.split('+').next().unwrap_or_default();
    format!("{} {version}{width}", peer.name)
}

/// A ratio with two significant digits.
pub fn factor(ratio: f64) -> String {
    let decimals = match ratio {
        r if r >= 10.0 => 0,
        r if r >= 1.0 => 1,
        _ => 2,
    };
    format!("{ratio:.decimals$}×")
}

pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
