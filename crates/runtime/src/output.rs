//! What functions print. Every request logs a line, so this path is hot: instances only append whole lines to a
//! buffer, and one thread for each of stdout and stderr writes them out together.

use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// How long the writer collects lines once there is one: a few hundred writes a second at most.
const GATHER: Duration = Duration::from_millis(5);
/// Functions that print wait while this much is still to be written.
const FULL: usize = 4 << 20;
/// A line longer than this is cut.
const LONGEST_LINE: usize = 64 << 10;

/// Where everything printed goes.
pub struct Output {
    out: Arc<Sink>,
    err: Arc<Sink>,
    writers: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Sink {
    state: Mutex<State>,
    filled: Condvar,
    drained: Notify,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    closed: bool,
}

impl Output {
    pub fn start() -> Self {
        let (out, err) = (Arc::<Sink>::default(), Arc::<Sink>::default());
        let writers = vec![
            std::thread::spawn({
                let sink = out.clone();
                move || sink.write_to(&mut std::io::stdout())
            }),
            std::thread::spawn({
                let sink = err.clone();
                move || sink.write_to(&mut std::io::stderr())
            }),
        ];
        Self { out, err, writers: Mutex::new(writers) }
    }

    /// An instance's stdout and stderr.
    pub fn lines(&self, component: &str) -> (Lines, Lines) {
        let prefix: Arc<str> = format!("[{component}] ").into();
        let new = |sink: &Arc<Sink>| {
            Lines(Arc::new(Line { sink: sink.clone(), prefix: prefix.clone(), begun: Mutex::default() }))
        };
        (new(&self.out), new(&self.err))
    }

    /// Writes what is left and ends the writers.
    pub fn stop(&self) {
        for sink in [&self.out, &self.err] {
            sink.state().closed = true;
            sink.filled.notify_one();
        }
        let writers = std::mem::take(&mut *lock(&self.writers));
        for writer in writers {
            // A writer that panicked has nothing left to write.
            let _ = writer.join();
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn push(&self, prefix: &str, lines: &[u8]) {
        let mut state = self.state();
        let idle = state.buffer.is_empty();
        for line in lines.split_inclusive(|b| *b == b'\n') {
            state.buffer.extend_from_slice(prefix.as_bytes());
            state.buffer.extend_from_slice(line);
        }
        drop(state);
        if idle {
            self.filled.notify_one();
        }
    }

    fn is_full(&self) -> bool {
        self.state().buffer.len() >= FULL
    }

    fn write_to(&self, target: &mut dyn Write) {
        let mut batch = Vec::new();
        loop {
            let state = self
                .filled
                .wait_while(self.state(), |s| s.buffer.is_empty() && !s.closed)
                .unwrap_or_else(PoisonError::into_inner);
            let mut state = if state.closed {
                state
            } else {
                drop(state);
                std::thread::sleep(GATHER);
                self.state()
            };
            let last = state.closed;
            std::mem::swap(&mut state.buffer, &mut batch);
            drop(state);
            self.drained.notify_waiters();
            // Nobody to tell if the terminal is gone.
            let _ = target.write_all(&batch).and_then(|()| target.flush());
            batch.clear();
            batch.shrink_to(64 << 10);
            if last {
                return;
            }
        }
    }
}

/// One stream of one instance; clones share the line that is being written.
#[derive(Clone)]
pub struct Lines(Arc<Line>);

struct Line {
    sink: Arc<Sink>,
    prefix: Arc<str>,
    begun: Mutex<Vec<u8>>,
}

impl Line {
    fn push(&self, bytes: &[u8]) {
        let mut begun = lock(&self.begun);
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let (lines, rest) = bytes.split_at(whole);
        if !lines.is_empty() {
            if begun.is_empty() {
                self.sink.push(&self.prefix, lines);
            } else {
                begun.extend_from_slice(lines);
                self.sink.push(&self.prefix, &begun);
                begun.clear();
            }
        }
        begun.extend_from_slice(rest);
        if begun.len() >= LONGEST_LINE {
            begun.push(b'\n');
            self.sink.push(&self.prefix, &begun);
            begun.clear();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let begun = self.begun.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !begun.is_empty() {
            begun.push(b'\n');
            self.sink.push(&self.prefix, begun);
        }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LONGEST_LINE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {
        while self.0.sink.is_full() {
            let drained = self.0.sink.drained.notified();
            if self.0.sink.is_full() {
                drained.await;
            }
        }
    }
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_whole_and_named() {
        let sink = Arc::<Sink>::default();
        let line = |prefix: &str| Line { sink: sink.clone(), prefix: prefix.into(), begun: Mutex::default() };
        let (a, b) = (line("[a] "), line("[b] "));
        a.push(b"one ");
        b.push(b"first\nsecond\nthi");
        a.push(b"line\nrest");
        drop(a);
        drop(b);
        sink.state().closed = true;
        let mut written = Vec::new();
        sink.write_to(&mut written);
        assert_eq!(String::from_utf8(written).unwrap(), "[b] first\n[b] second\n[a] one line\n[a] rest\n[b] thi\n");
    }
}
