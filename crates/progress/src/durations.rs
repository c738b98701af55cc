//! How long steps took the last time.

use std::{fs, path::PathBuf, time::Duration};

/// A file with one line a step: the seconds, and its name.
pub struct Durations(PathBuf);

impl Durations {
    pub fn at(file: PathBuf) -> Self {
        Self(file)
    }

    /// How long the step took the last time, else `first`.
    pub fn usual(&self, step: &str, first: Duration) -> Duration {
        self.read().into_iter().find(|(_, name)| name == step).map_or(first, |(duration, _)| duration)
    }

    /// Notes how long a step took. It is only shown to people: if it can't be written, that is no error.
    pub fn record(&self, step: &str, duration: Duration) {
        let mut all = self.read();
        all.retain(|(_, name)| name != step);
        all.push((duration, step.to_owned()));
        let lines = all.iter().map(|(duration, name)| format!("{:.1} {name}\n", duration.as_secs_f32()));
        if let Some(folder) = self.0.parent() {
            let _ = fs::create_dir_all(folder);
        }
        let _ = fs::write(&self.0, lines.collect::<String>());
    }

    fn read(&self) -> Vec<(Duration, String)> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter_map(|(seconds, name)| {
                let duration = Duration::try_from_secs_f32(seconds.parse().ok()?).ok()?;
                Some((duration, name.to_owned()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_duration_of_a_step_is_known() {
        let file = std::env::temp_dir().join(format!("durations-{}", std::process::id()));
        let durations = Durations::at(file.clone());
        let seconds = Duration::from_secs;
        assert_eq!(durations.usual("a step", seconds(60)), seconds(60));
        durations.record("a step", seconds(90));
        durations.record("another", seconds(1));
        durations.record("a step", seconds(2));
        assert_eq!(durations.usual("a step", seconds(60)), seconds(2));
        assert_eq!(durations.usual("another", seconds(60)), seconds(1));
        fs::write(&file, "nonsense\n-1 negative\nNaN none\n").unwrap();
        assert_eq!(durations.usual("negative", seconds(60)), seconds(60));
        fs::remove_file(file).unwrap();
    }
}
