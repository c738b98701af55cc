//! Progress: a spinner or a bar on a terminal, plain lines elsewhere. All on stderr.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// Clones show the same line, which goes with the last of them.
#[derive(Clone)]
pub struct Step {
    bar: Option<ProgressBar>,
}

/// Something that takes a while.
pub fn step(what: &str) -> Step {
    if !std::io::stderr().is_terminal() {
        eprintln!("{what} …");
        return Step { bar: None };
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {wide_msg}") {
        bar.set_style(style);
    }
    let bar = bar.with_finish(ProgressFinish::AndClear);
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    Step { bar: Some(bar) }
}

impl Step {
    pub fn on_terminal(&self) -> bool {
        self.bar.is_some()
    }

    /// Turns the spinner into a bar as soon as there is something to count.
    pub fn count(&self, done: u64, of: u64, now: &str) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(of) {
            bar.set_length(of);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{bar:24}] {pos}/{len} {wide_msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
        }
        bar.set_position(done);
        bar.set_message(now.to_owned());
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub fn done(self, result: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{result}");
    }
}

pub fn warn(text: &str) {
    eprintln!("warning: {text}");
}
