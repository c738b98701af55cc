//! Shows progress on stderr: a spinner or a bar on a terminal, else plain lines.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// A step that takes a while. Clones share a line, which is removed with the last of them.
#[derive(Clone)]
pub struct Step {
    bar: Option<ProgressBar>,
}

/// Begins a step.
pub fn step(name: &str) -> Step {
    if !std::io::stderr().is_terminal() {
        eprintln!("{name} …");
        return Step { bar: None };
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {wide_msg}") {
        bar.set_style(style);
    }
    let bar = bar.with_finish(ProgressFinish::AndClear);
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    Step { bar: Some(bar) }
}

impl Step {
    pub fn on_terminal(&self) -> bool {
        self.bar.is_some()
    }

    /// Replaces the spinner by a bar.
    pub fn set_progress(&self, done: u64, total: u64, message: &str) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(total) {
            bar.set_length(total);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{bar:24}] {pos}/{len} {wide_msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
        }
        bar.set_position(done);
        bar.set_message(message.to_owned());
    }

    /// Prints a line that stays.
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
