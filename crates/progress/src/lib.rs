//! Says what a command is doing, and how long that usually takes: on a terminal a line that is redrawn, with a bar where
//! there is something to count, else plain lines.
//!
//! It has no dependencies, since `cargo mall` must be able to say what is wrong before any can be downloaded.

pub mod cargo;
mod durations;

use std::{
    io::{IsTerminal, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub use durations::Durations;

/// How often the line is redrawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
/// A shorter step is not worth a plain line of its own.
const QUIET_TIME: Duration = Duration::from_millis(500);
/// How often a step says on plain lines how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
const BAR_WIDTH: u64 = 24;
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// Moves to the start of the line and erases it.
const ERASE: &str = "\r\x1b[K";
/// The terminal cuts off lines that are too long, until the next of these wraps them again.
const CUT_OFF: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// A step that takes a while. Clones share a line, which is removed with the last of them.
#[derive(Clone)]
pub struct Step(Arc<Line>);

/// Begins a step.
pub fn step(name: &str) -> Step {
    step_of(name, None)
}

/// Begins a step that usually takes this long.
pub fn step_of(name: &str, usual: Option<Duration>) -> Step {
    let on_terminal = std::io::stderr().is_terminal();
    let status = Arc::new(Status { name: name.to_owned(), usual, begun: Instant::now(), ..Status::default() });
    let thread = std::thread::spawn({
        let status = status.clone();
        move || if on_terminal { status.redraw() } else { status.report() }
    });
    Step(Arc::new(Line { status, on_terminal, thread: Some(thread) }))
}

/// Prints a warning.
pub fn warn(text: &str) {
    eprintln!("warning: {text}");
}

impl Step {
    pub fn on_terminal(&self) -> bool {
        self.0.on_terminal
    }

    /// How long ago it began.
    pub fn elapsed(&self) -> Duration {
        self.0.status.begun.elapsed()
    }

    /// Replaces the spinner by a bar.
    pub fn set_progress(&self, done: u64, total: u64, detail: &str) {
        let mut state = self.0.status.state();
        state.count = Some((done, total));
        state.detail.clear();
        state.detail.push_str(detail);
    }

    /// Prints a line that stays.
    pub fn line(&self, text: &str) {
        // With the lock, so that the line is not redrawn in the middle.
        let _state = self.0.status.state();
        match self.0.on_terminal {
            true => eprintln!("{ERASE}{text}"),
            false => eprintln!("{text}"),
        }
    }

    /// Ends the step, and prints its result.
    pub fn done(self, result: &str) {
        self.line(result);
    }
}

struct Line {
    status: Arc<Status>,
    on_terminal: bool,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.status.state().is_done = true;
        self.status.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            // It draws and does nothing else.
            let _ = thread.join();
        }
    }
}

struct Status {
    name: String,
    usual: Option<Duration>,
    begun: Instant,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    count: Option<(u64, u64)>,
    detail: String,
    is_done: bool,
}

impl Default for Status {
    fn default() -> Self {
        Self { name: String::new(), usual: None, begun: Instant::now(), state: Mutex::default(), ended: Condvar::new() }
    }
}

impl Status {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state after this time, or as soon as the step ends.
    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.ended.wait_timeout_while(state, time, |state| !state.is_done).unwrap_or_else(PoisonError::into_inner).0
    }

    fn redraw(&self) {
        let mut state = self.state();
        for spinner in SPINNER.iter().cycle() {
            if state.is_done {
                break;
            }
            let line = self.drawn(&state, self.begun.elapsed());
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "{CUT_OFF}{ERASE}{spinner} {line}{WRAP}").and_then(|()| stderr.flush());
            drop(stderr);
            state = self.wait(state, REDRAW_INTERVAL);
        }
        eprint!("{ERASE}");
    }

    fn report(&self) {
        let mut state = self.wait(self.state(), QUIET_TIME);
        if !state.is_done {
            eprintln!("{}", self.first_line());
            state = self.wait(state, REPORT_INTERVAL);
        }
        while !state.is_done {
            eprintln!("{}", self.drawn(&state, self.begun.elapsed()));
            state = self.wait(state, REPORT_INTERVAL);
        }
    }

    fn first_line(&self) -> String {
        match self.usual {
            Some(usual) => format!("{} (usually {}) …", self.name, minutes(usual)),
            None => format!("{} …", self.name),
        }
    }

    fn drawn(&self, state: &State, elapsed: Duration) -> String {
        let bar = state.count.map_or_else(String::new, |(done, total)| {
            let full = (done * BAR_WIDTH / total.max(1)).min(BAR_WIDTH);
            let (full, empty) = ("=".repeat(full as usize), " ".repeat((BAR_WIDTH - full) as usize));
            format!(" [{full}{empty}] {done}/{total}")
        });
        let usual = self.usual.map_or_else(String::new, |usual| format!(" of usually {}", minutes(usual)));
        format!("{}{bar}  {}{usual}  {}", self.name, minutes(elapsed), state.detail).trim_end().to_owned()
    }
}

/// As `0:07` or `12:30`.
fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_count_and_the_times() {
        let status = Status { name: "Building".to_owned(), usual: Some(Duration::from_secs(150)), ..Status::default() };
        assert_eq!(status.first_line(), "Building (usually 2:30) …");
        let elapsed = Duration::from_secs(65);
        assert_eq!(status.drawn(&status.state(), elapsed), "Building  1:05 of usually 2:30");
        let state = State { count: Some((5, 10)), detail: "serde".to_owned(), is_done: false };
        assert_eq!(
            status.drawn(&state, elapsed),
            "Building [============            ] 5/10  1:05 of usually 2:30  serde"
        );
        // What Cargo counts may be empty.
        let empty = State { count: Some((0, 0)), ..State::default() };
        assert!(status.drawn(&empty, elapsed).contains("0/0"));
    }
}
