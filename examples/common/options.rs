//! Parsing of the command line.

use std::ops::RangeInclusive;

use clap::parser::ValueSource;
use clap::{Arg, Parser};
use wgrad::Activation;

/// Parses the command line. Exits with a message if it is wrong.
pub fn parse<A: Parser>() -> A {
    parse_given().0
}

/// Parses the command line. Also returns the names of the options that were given, such as `--batch`.
pub fn parse_given<A: Parser>() -> (A, Vec<String>) {
    // A negative number is a value out of range, not an unknown option.
    let mut command = A::command().mut_args(|arg| arg.allow_negative_numbers(true));
    let matches = command.get_matches_mut();
    let args = A::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
    let is_given = |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let given = command.get_arguments().filter(is_given).filter_map(Arg::get_long);
    (args, given.map(|long| format!("--{long}")).collect())
}

/// If a limit of the device is exceeded, adds to the error that a smaller value of this option may help.
pub fn suggest_smaller(option: &str, error: wgrad::Error) -> Box<dyn std::error::Error> {
    match error {
        wgrad::Error::LimitExceeded { .. } => format!("{error}: a smaller {option} may fit").into(),
        error => error.into(),
    }
}

/// A parser of integers within a range.
pub fn integer(range: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |word| {
        let number = word.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Parses a seed.
pub fn seed(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// Parses a finite number.
pub fn number(word: &str) -> Result<f32, String> {
    word.parse().ok().filter(|number: &f32| number.is_finite()).ok_or_else(|| "expected a number".into())
}

/// Parses a learning rate: a finite number, 0 or more.
pub fn rate(word: &str) -> Result<f32, String> {
    number(word).ok().filter(|&rate| rate >= 0.0).ok_or_else(|| "expected a number, 0 or more".into())
}

/// Parses the name of an activation, with or without its parameter.
pub fn activation(name: &str) -> Result<Activation, String> {
    let named = |a: &Activation| a.to_string() == name || a.to_string().split('(').next() == Some(name);
    let names = || Activation::ALL.map(|a| a.to_string()).join(", ");
    Activation::ALL.into_iter().find(named).ok_or_else(|| format!("expected one of {}", names()))
}
