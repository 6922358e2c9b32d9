//! The page of results.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::case::{Case, Outcome};

pub type Outcomes<'a> = [(&'a Case, Outcome)];

/// Numbers of passed, failed and skipped cases.
#[derive(Default, Clone, Copy)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(_) => self.failed += 1,
            Outcome::Skipped(_) => self.skipped += 1,
        }
    }

    fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Self {
        let mut counts = Self::default();
        outcomes.for_each(|outcome| counts.add(outcome));
        counts
    }
}

/// The last line of a run.
pub fn summary(outcomes: &Outcomes) -> String {
    let Counts { passed, failed, skipped } = Counts::of(outcomes.iter().map(|(_, outcome)| outcome));
    format!("{passed} passed, {failed} failed, {skipped} skipped")
}

/// A reason without the names of nodes and values, so that equal reasons are counted together.
fn grouped(reason: &str) -> String {
    let without_node = |part: &str| match part.split_once(" \"") {
        Some((operator, rest)) => match rest.split_once("\": ") {
            Some((_, reason)) => format!("{operator}: {reason}"),
            None => part.to_owned(),
        },
        None => part.to_owned(),
    };
    let mut parts: Vec<String> = reason.split("; ").map(without_node).collect();
    parts.dedup();
    parts.join("; ")
}

fn groups<'a>(reasons: impl Iterator<Item = (&'a Case, &'a str)>) -> Vec<(String, Vec<&'a str>)> {
    let mut groups = BTreeMap::<String, Vec<&str>>::new();
    for (case, reason) in reasons {
        groups.entry(grouped(reason)).or_default().push(case.name());
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, cases)| std::cmp::Reverse(cases.len()));
    groups
}

/// For each operator of a case that is not skipped, the results of its cases.
fn by_operator(outcomes: &Outcomes) -> BTreeMap<String, Counts> {
    let mut operators = BTreeMap::<String, Counts>::new();
    for (case, outcome) in outcomes {
        if case.kind() == "node" && !matches!(outcome, Outcome::Skipped(_)) {
            for operator in &case.operators {
                operators.entry(operator.clone()).or_default().add(outcome);
            }
        }
    }
    operators
}

/// The page as Markdown. `gpu` names the GPU.
pub fn page(outcomes: &Outcomes, gpu: &str) -> String {
    let mut page = String::new();
    let of_kind = |kind: &str| {
        let own = outcomes.iter().filter(|(case, _)| case.kind() == kind).map(|(_, outcome)| outcome);
        Counts::of(own)
    };
    let node = of_kind("node");
    let operators = by_operator(outcomes);
    let [in_scope, all] = [node.passed + node.failed, node.passed + node.failed + node.skipped];
    let _ = write!(
        page,
        "# ONNX backend tests\n\n\
         This page lists which backend tests of the ONNX project (`onnx` 1.23.2) wgrad passes. It is for those who want to know\n\
         how far the feature `onnx` goes. `scripts/onnx_tests.sh` makes the cases, runs them and writes this page.\n\n\
         wgrad passes **{} of the {in_scope} node cases of the {} operators supported**, of {all} node cases.\n\n\
         - A case passes if the results on GPU and CPU both agree with the stored ones. The tolerance is that of the case: relative\n  \
           1e-3 (2e-3 for densenet121) and absolute 1e-7, as in the runner of the ONNX project. For bfloat16 it is relative 1/64.\n\
         - A case fails if wgrad has all its operators, but refuses it or gives other results.\n\
         - A case is skipped if it has other operators, or inputs or outputs that are no tensors of floats.\n\
         - Inputs that hold no floats are bound as constants. So are inputs that an operator needs as constants, such as weights.\n\
         - The whole tensor is one sample (`Onnx::unbatched`). If that is refused, the first dimension is the batch.\n\
         - The GPU was {gpu}. A case with several operators counts for each.\n\n\
         | cases | passed | failed | skipped |\n|---|---|---|---|\n",
        node.passed,
        operators.values().filter(|counts| counts.passed > 0).count(),
    );
    for kind in ["node", "pytorch-converted", "light"] {
        let Counts { passed, failed, skipped } = of_kind(kind);
        let _ = writeln!(page, "| {kind} | {passed} | {failed} | {skipped} |");
    }
    page += "\n## Failed\n\n";
    let failed = outcomes.iter().filter_map(|(case, outcome)| match outcome {
        Outcome::Failed(reason) => Some((*case, &**reason)),
        _ => None,
    });
    page += "| reason | cases |\n|---|---|\n";
    for (reason, cases) in groups(failed) {
        let _ = writeln!(page, "| {} | {} |", reason.replace('|', "\\|"), cases.join(" "));
    }
    page += "\n## Skipped\n\nThe number of cases for each reason. A name is an operator that wgrad does not have.\n\n";
    let skipped = outcomes.iter().filter_map(|(case, outcome)| match outcome {
        Outcome::Skipped(reason) => Some((*case, &**reason)),
        _ => None,
    });
    page += "| reason | number |\n|---|---|\n";
    for (reason, cases) in groups(skipped) {
        let _ = writeln!(page, "| {reason} | {} |", cases.len());
    }
    page += "\n## Operators\n\nThe node cases that are not skipped.\n\n";
    page += "| operator | passed | failed |\n|---|---|---|\n";
    for (operator, Counts { passed, failed, .. }) in operators {
        let _ = writeln!(page, "| {operator} | {passed} | {failed} |");
    }
    page
}
