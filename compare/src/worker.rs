//! The process of one engine. It runs its job once and reports its device. Then it answers one command for each line:
//!
//!     run 20     runs the job twenty times             {"seconds": 0.31}
//!     loss       computes the loss of the test rows    {"loss": 1.84}

use std::io::stdin;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use serde_json::json;

use crate::results::Job;
use compare::Result;
use compare::engines::{Engine, Kind};
use compare::task::Task;

pub fn serve(kind: &Kind, job: Job, batch: usize, folder: PathBuf) -> Result<()> {
    let task = Rc::new(Task::open(folder, batch, kind.channels_first)?);
    let mut engine = (kind.start)(task.clone())?;
    run(engine.as_mut(), job, 1)?;
    println!("{}", json!({ "device": engine.device() }));
    for line in stdin().lines() {
        let line = line?;
        let answer = match line.split_once(' ') {
            Some(("run", count)) => {
                let count = count.parse()?;
                let start = Instant::now();
                run(engine.as_mut(), job, count)?;
                json!({ "seconds": start.elapsed().as_secs_f64() })
            }
            None if line == "loss" => json!({ "loss": task.loss(&engine.forward()?)? }),
            _ => return Err(format!("\"{line}\" is neither \"run\" and a number nor \"loss\"").into()),
        };
        println!("{answer}");
    }
    Ok(())
}

fn run(engine: &mut dyn Engine, job: Job, count: usize) -> Result<()> {
    match job {
        Job::Train => engine.train(count),
        Job::Forward => (0..count).try_for_each(|_| engine.forward().map(drop)),
    }
}
